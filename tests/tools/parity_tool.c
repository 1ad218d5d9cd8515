/* The C half of the PyTorch parity test (tests/suites/parity.sh). A case is a JSON file that
 * tests/models/pytorch/reference.py wrote; images and initial weights follow the hash rule that it
 * documents, so that both sides make the same bits.
 *
 *   parity_tool data    CASE.json DIR            four IDX files
 *   parity_tool init    CASE.json FILE [NAME]    safetensors; NAME: first tap of it 1 % off
 *   parity_tool compare CASE.json LOG.jsonl WEIGHTS [NAME]    NAME: a parameter to leave out
 *   parity_tool values  CASE.json WEIGHTS BOUND               its values, whole tensors, within
 *                                                             BOUND of each one's largest
 *   parity_tool losses  CASE.json LOG.jsonl BOUND             the losses alone, each within BOUND
 *   parity_tool variant CASE.json NAME OUT.json               the case with one of its schedules
 *
 * compare checks the losses in the log and, where the case has values after that many steps, the
 * weights; it prints the worst error as a fraction of its bound, exit 1 where one is over. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 96, MAX_HEADER = 1 << 20 };

_Noreturn static void die(const char *what, const char *name)
{
    fprintf(stderr, "parity_tool: %s: %s\n", name, what);
    exit(2);
}

static uint64_t fnv1a(const char *text, const char *suffix)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (const char *part = text; part; part = part == text ? suffix : NULL)
        for (const char *c = part; *c; c++)
            h = (h ^ (uint8_t)*c) * 0x100000001B3u;
    return h;
}

/* splitmix64 of seed + index. */
static uint64_t hash(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + index + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* ---- the case ---- */

static json_t *load_case(const char *path)
{
    json_error_t error;
    json_t *c = json_load_file(path, 0, &error);
    if (!c)
        die(error.text, path);
    return c;
}

static long integer(const json_t *object, const char *key)
{
    return (long)json_integer_value(json_object_get(object, key));
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static const char *parameter_name(const json_t *p)
{
    return json_string_value(json_object_get(p, "name"));
}

static size_t parameter_elements(const json_t *p)
{
    size_t n = 1, i;
    json_t *extent;
    json_array_foreach(json_object_get(p, "shape"), i, extent)
        n *= (size_t)json_integer_value(extent);
    return n;
}

/* Uniform in +-scale/sqrt(fan_in), PyTorch's default times scale, around a centre (or 0). */
static float *initial(const json_t *c, const json_t *p)
{
    size_t n = parameter_elements(p);
    float *value = malloc(n * sizeof *value);
    if (!value)
        die("out of memory", parameter_name(p));
    double bound = number(c, "scale") / sqrt(number(p, "fan_in")), centre = number(p, "centre");
    uint64_t seed = fnv1a(parameter_name(p), NULL);
    for (size_t i = 0; i < n; i++)
        value[i] = (float)(centre +
                           (2 * ((double)(hash(seed, i) >> 40) / 16777216.0) - 1) * bound);
    return value;
}

/* ---- data ---- */

static FILE *create(const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        die(strerror(errno), path);
    return f;
}

static void close_written(FILE *f, const char *path)
{
    if (ferror(f) | fclose(f))
        die("cannot be written", path);
}

static void put_big_endian(FILE *f, uint32_t v)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        putc((int)(v >> shift & 255), f);
}

/* IDX of bytes: images [count, h, w] or, with several channels, [count, h, w, c]. */
static void write_images(const json_t *c, const char *directory, const char *set)
{
    char path[4096];
    const char *extent[] = {"images", "height", "width", "channels"};
    int rank = integer(c, "channels") == 1 ? 3 : 4;
    snprintf(path, sizeof path, "%s/%s-images-idx%d-ubyte", directory, set, rank);
    FILE *f = create(path);
    put_big_endian(f, 0x800 + (uint32_t)rank);
    uint64_t bytes = 1, seed = fnv1a("images", NULL);
    for (int i = 0; i < rank; i++) {
        put_big_endian(f, (uint32_t)integer(c, extent[i]));
        bytes *= (uint64_t)integer(c, extent[i]);
    }
    for (uint64_t i = 0; i < bytes; i++)
        putc((int)(hash(seed, i) >> 56), f);
    close_written(f, path);
}

static void write_labels(const json_t *c, const char *directory, const char *set)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte", directory, set);
    FILE *f = create(path);
    uint64_t count = (uint64_t)integer(c, "images"), classes = (uint64_t)integer(c, "classes");
    put_big_endian(f, 0x801);
    put_big_endian(f, (uint32_t)count);
    for (uint64_t i = 0; i < count; i++)
        putc((int)((hash(fnv1a("labels", NULL), i) >> 32) % classes), f);
    close_written(f, path);
}

static int command_data(const json_t *c, const char *directory)
{
    static const char *const set[] = {"train", "t10k"};
    for (int i = 0; i < 2; i++) {
        write_images(c, directory, set[i]);
        write_labels(c, directory, set[i]);
    }
    return 0;
}

/* ---- initial weights ---- */

static void write_header(const json_t *c, FILE *f)
{
    json_t *header = json_object(), *p;
    size_t at = 0, i;
    json_array_foreach(json_object_get(c, "parameters"), i, p) {
        size_t end = at + parameter_elements(p) * sizeof(float);
        json_object_set_new(header, parameter_name(p),
                            json_pack("{s:s, s:O, s:[i, i]}", "dtype", "F32", "shape",
                                      json_object_get(p, "shape"), "data_offsets", (int)at,
                                      (int)end));
        at = end;
    }
    json_array_foreach(json_object_get(c, "batches"), i, p) {
        json_object_set_new(header, json_string_value(p),
                            json_pack("{s:s, s:[], s:[i, i]}", "dtype", "I64", "shape",
                                      "data_offsets", (int)at, (int)(at + sizeof(int64_t))));
        at += sizeof(int64_t);
    }
    char *text = json_dumps(header, JSON_COMPACT);
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    for (int byte = 0; byte < 8; byte++)
        putc((int)((uint64_t)padded >> 8 * byte & 255), f);
    fprintf(f, "%-*s", (int)padded, text);
    free(text);
    json_decref(header);
}

/* Multiplies the filter's tap (0, 0) by 1.01 for all channels: what a kernel that misses a
 * little at one tap would do. */
static void plant_error(const json_t *p, float *value)
{
    const json_t *shape = json_object_get(p, "shape");
    size_t n = parameter_elements(p), taps = 1;
    for (size_t i = 2; i < json_array_size(shape); i++)
        taps *= (size_t)json_integer_value(json_array_get(shape, i));
    for (size_t i = 0; i < n; i += taps)
        value[i] *= 1.01f;
}

static int command_init(const json_t *c, const char *path, const char *planted)
{
    FILE *f = create(path);
    json_t *p;
    size_t i;
    write_header(c, f);
    json_array_foreach(json_object_get(c, "parameters"), i, p) {
        float *value = initial(c, p);
        if (planted && strcmp(planted, parameter_name(p)) == 0)
            plant_error(p, value);
        fwrite(value, sizeof *value, parameter_elements(p), f);
        free(value);
    }
    for (i = json_array_size(json_object_get(c, "batches")) * sizeof(int64_t); i > 0; i--)
        putc(0, f);
    close_written(f, path);
    return 0;
}

/* ---- comparison ---- */

/* Worst error as a fraction of its bound; not a number counts as over. */
typedef struct Worst {
    double fraction;
    char where[96];
} Worst;

static void note(Worst *worst, double error, double bound, const char *where)
{
    double fraction = error / bound;
    if (!(fraction <= worst->fraction)) {
        worst->fraction = isnan(fraction) ? HUGE_VAL : fraction;
        snprintf(worst->where, sizeof worst->where, "%s", where);
    }
}

/* Compares the loss of each step; returns the number of steps in the log. */
static size_t compare_losses(const json_t *c, const char *path, double bound, Worst *worst)
{
    FILE *f = fopen(path, "r");
    if (!f)
        die(strerror(errno), path);
    char line[4096], where[32];
    size_t steps = 0;
    const json_t *expected = json_object_get(c, "loss");
    while (fgets(line, sizeof line, f)) {
        json_t *event = json_loads(line, 0, NULL);
        const char *kind = json_string_value(json_object_get(event, "event"));
        if (!event || !kind)
            die("has a line that is no event", path);
        if (strcmp(kind, "train") == 0) {
            const json_t *loss = json_object_get(event, "loss");
            if (integer(event, "step") != (long)++steps || steps > json_array_size(expected))
                die("does not have each step once", path);
            double got = json_is_number(loss) ? json_number_value(loss) : NAN;
            snprintf(where, sizeof where, "step %zu", steps);
            note(worst, fabs(got - json_number_value(json_array_get(expected, steps - 1))),
                 bound, where);
        }
        json_decref(event);
    }
    fclose(f);
    return steps;
}

/* The safetensors file: its parsed header, and the data behind it. */
static json_t *load_weights(const char *path, unsigned char **data, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    unsigned char head[8];
    if (!f || fread(head, 1, 8, f) != 8)
        die("cannot be read", path);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | head[i];
    char *text = length < MAX_HEADER ? calloc(1, length + 1) : NULL;
    if (!text || fread(text, 1, length, f) != length)
        die("has a bad header", path);
    json_t *header = json_loads(text, 0, NULL);
    free(text);
    if (!header || fseek(f, 0, SEEK_END))
        die("has a bad header", path);
    *bytes = (size_t)ftell(f) - 8 - length;
    *data = malloc(*bytes + 1);
    fseek(f, (long)(8 + length), SEEK_SET);
    if (!*data || fread(*data, 1, *bytes, f) != *bytes)
        die("cannot be read", path);
    fclose(f);
    return header;
}

/* A parameter's floats in the loaded file, checked for dtype, shape and place. */
static const float *find_weights(const json_t *header, const json_t *p, unsigned char *data,
                                 size_t bytes)
{
    const json_t *t = json_object_get(header, parameter_name(p));
    const json_t *offsets = json_object_get(t, "data_offsets");
    const char *dtype = json_string_value(json_object_get(t, "dtype"));
    size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));
    if (!dtype || strcmp(dtype, "F32") ||
        !json_equal(json_object_get(t, "shape"), json_object_get(p, "shape")) || end > bytes ||
        end - begin != parameter_elements(p) * sizeof(float))
        die("is missing, or of another shape or dtype", parameter_name(p));
    return (const float *)(const void *)(data + begin);
}

/* Compares how far a parameter moved with the expected movement: the samples, and the norm. */
static void compare_parameter(const json_t *c, const json_t *p, const json_t *after,
                              const float *got, Worst *worst)
{
    const char *name = parameter_name(p);
    size_t n = parameter_elements(p), samples = n < SAMPLES ? n : SAMPLES;
    float *start = initial(c, p);
    double moved = 0, error = 0, size = 0;
    for (size_t i = 0; i < n; i++)
        moved += ((double)got[i] - start[i]) * ((double)got[i] - start[i]);
    for (size_t i = 0; i < samples; i++) {
        size_t at = n <= SAMPLES ? i : (size_t)(hash(fnv1a(name, "#sample"), i) % n);
        double want = json_number_value(json_array_get(json_object_get(after, "delta"), i));
        double difference = (double)got[at] - start[at] - want;
        error += difference * difference;
        size += want * want;
    }
    double bound = number(after, "tolerance"), norm = number(after, "moved");
    note(worst, sqrt(error), bound * sqrt(size), name);
    note(worst, fabs(sqrt(moved) - norm), bound * norm, name);
    free(start);
}

/* Batch norms have counted all steps: scalars of 64 bits. */
static void check_batches(const json_t *c, const json_t *header, const unsigned char *data,
                          size_t steps)
{
    const json_t *name;
    size_t i;
    json_array_foreach(json_object_get(c, "batches"), i, name) {
        const char *key = json_string_value(name);
        const json_t *t = json_object_get(header, key);
        const json_t *at = json_array_get(json_object_get(t, "data_offsets"), 0);
        const char *dtype = json_string_value(json_object_get(t, "dtype"));
        int64_t count = -1;
        if (dtype && !strcmp(dtype, "I64") && json_array_size(json_object_get(t, "shape")) == 0)
            memcpy(&count, data + json_integer_value(at), sizeof count);
        if (count != (int64_t)steps)
            die("does not hold the number of steps", key);
    }
}

static bool compare_weights(const json_t *c, const char *path, size_t steps, const char *but,
                            Worst *worst)
{
    unsigned char *data;
    size_t bytes, i, j;
    bool compared = false;
    json_t *header = load_weights(path, &data, &bytes), *p, *after;
    check_batches(c, header, data, steps);
    json_array_foreach(json_object_get(c, "parameters"), i, p) {
        const float *got = find_weights(header, p, data, bytes);
        json_array_foreach(json_object_get(p, "after"), j, after) {
            if ((size_t)integer(after, "step") != steps || (but && !strcmp(but, parameter_name(p))))
                continue;
            compare_parameter(c, p, after, got, worst);
            compared = true;
        }
    }
    free(data);
    json_decref(header);
    return compared;
}

static int command_compare(const json_t *c, const char *log, const char *weights, const char *but)
{
    Worst loss = {0, "none"}, moved = {0, "none"};
    size_t steps = compare_losses(c, log, number(c, "loss_tolerance"), &loss);
    bool compared = compare_weights(c, weights, steps, but, &moved);
    printf("%zu steps, worst loss %.3g of its bound (%s)", steps, loss.fraction, loss.where);
    if (compared)
        printf(", worst parameter %.3g (%s)", moved.fraction, moved.where);
    printf("\n");
    return steps > 0 && loss.fraction <= 1 && moved.fraction <= 1 ? 0 : 1;
}

/* Every element of the tensors that the case has whole. */
static int command_values(const json_t *c, const char *weights, double bound)
{
    Worst worst = {0, "none"};
    unsigned char *data;
    size_t bytes, i, k, count = 0;
    json_t *header = load_weights(weights, &data, &bytes), *p;
    json_array_foreach(json_object_get(c, "values"), i, p) {
        const float *got = find_weights(header, p, data, bytes);
        const json_t *value = json_object_get(p, "value");
        double largest = 1e-3; /* what is smaller counts as that */
        for (k = 0; k < json_array_size(value); k++)
            largest = fmax(largest, fabs(json_number_value(json_array_get(value, k))));
        for (k = 0; k < parameter_elements(p); k++, count++)
            note(&worst, fabs((double)got[k] - json_number_value(json_array_get(value, k))),
                 bound * largest, parameter_name(p));
    }
    printf("%zu values, the worst %.3g of its bound (%s)\n", count, worst.fraction, worst.where);
    free(data);
    json_decref(header);
    return count > 0 && worst.fraction <= 1 ? 0 : 1;
}

static int command_losses(const json_t *c, const char *log, double bound)
{
    Worst loss = {0, "none"};
    size_t steps = compare_losses(c, log, bound, &loss);
    printf("%zu steps, worst loss %.3g of its bound (%s)\n", steps, loss.fraction, loss.where);
    return steps > 0 && loss.fraction <= 1 ? 0 : 1;
}

/* Prints the schedule as a model file has it. */
static int command_variant(json_t *c, const char *name, const char *path)
{
    json_t *variant = json_object_get(json_object_get(c, "variants"), name);
    const char *schedule = json_string_value(json_object_get(variant, "schedule"));
    if (!schedule)
        die("there is no such variant", name);
    if (json_object_update(c, variant) < 0 || json_dump_file(c, path, 0) < 0)
        die("cannot be written", path);
    printf("%s\n", schedule);
    return 0;
}

int main(int argc, char **argv)
{
    const char *command = argc > 3 ? argv[1] : "";
    json_t *c = argc > 3 ? load_case(argv[2]) : NULL;
    int status = 2;
    if (strcmp(command, "data") == 0)
        status = command_data(c, argv[3]);
    else if (strcmp(command, "init") == 0)
        status = command_init(c, argv[3], argc > 4 ? argv[4] : NULL);
    else if (strcmp(command, "compare") == 0 && argc > 4)
        status = command_compare(c, argv[3], argv[4], argc > 5 ? argv[5] : NULL);
    else if (strcmp(command, "variant") == 0 && argc > 4)
        status = command_variant(c, argv[3], argv[4]);
    else if (strcmp(command, "losses") == 0 && argc > 4)
        status = command_losses(c, argv[3], strtod(argv[4], NULL));
    else if (strcmp(command, "values") == 0 && argc > 4)
        status = command_values(c, argv[3], strtod(argv[4], NULL));
    else
        fprintf(stderr, "usage: parity_tool data|init|compare|losses|variant|values CASE.json "
                        "ARGUMENT...\n");
    json_decref(c);
    return status;
}
