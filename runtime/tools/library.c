/* The forward pass for programs that are not ours: whatever fails comes back as a text; nothing is
 * printed, nothing ends the process, and all state is in the handle. */
#include "../library.h"
#include "../../ir/ir.h"
#include "tools.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ERROR_BYTES = 512 };

static const char of_another_process[] =
    "the network belongs to the process that created it; a child of fork() creates its own";

struct Library {
    pid_t process;        /* that created it */
    pthread_mutex_t lock; /* of all below */
    const DeviceTable *table;
    Device *device;
    const NincProgram *program;
    const NincPort *logits;
    Dataset batch;           /* the images of one pass */
    int32_t *index;          /* 0, 1, ... of them */
    void *physical;          /* logits as they lie on the device */
    float *plain;            /* and in logical order */
    bool lost;               /* a call did not come to its end; the device's state is not known */
    char error[ERROR_BYTES]; /* of the last failure */
};

/* What a call does with its messages and with what would end the program. */
typedef struct Guard {
    Messages messages;
    Rescue rescue, *outer;
} Guard;

static void guard_begin(Guard *g, char *error)
{
    g->messages = fault_silence(error, ERROR_BYTES);
    g->outer = rescue_set(&g->rescue);
}

static void guard_end(Guard *g)
{
    rescue_set(g->outer);
    fault_release(g->messages);
}

/* ---- creating ---- */

static int parse_device(const char *text, Library *l, DeviceOptions *options)
{
    char shown[80];
    if (text && !device_parse(text, &l->table, &options->ordinal))
        return fault("there is no device '%s'; give cpu, cuda, cuda:N or auto",
                     printable(text, shown, sizeof shown));
    if (options->threads < 0 || options->threads > MAX_THREADS)
        return fault("%d threads; give 1 to %d, or 0 for the default", options->threads,
                     MAX_THREADS);
    return 0;
}

static int load_weights(const Library *l, const char *path)
{
    if (!path)
        return fault("no weights; give a .safetensors file or a directory of checkpoints");
    Weights *w = weights_new(&ninc_model);
    int status = w ? weights_read(path, w) : -1;
    if (status == 0)
        status = weights_to_device(w, l->table, l->device);
    weights_free(w);
    return status;
}

static int allocate(Library *l)
{
    const NincModel *m = &ninc_model;
    const NincProgram *p = &device_target(m, l->table)->eval;
    size_t batch = (size_t)p->batch;
    l->program = p;
    l->logits = find_port(p->output, p->outputs, "logits");
    if (!l->logits)
        return fault("the network has no logits");
    l->batch = (Dataset){.count = p->batch, .h = m->image_h, .w = m->image_w, .c = m->image_c};
    l->batch.image = calloc(batch, (size_t)m->image_h * (size_t)m->image_w * (size_t)m->image_c);
    l->batch.label = calloc(batch, sizeof *l->batch.label);
    l->index = calloc(batch, sizeof *l->index);
    l->physical = calloc((size_t)tensor_elements(&l->logits->tensor), sizeof(float));
    l->plain = calloc((size_t)shape_elements(&l->logits->tensor.shape), sizeof(float));
    if (!l->batch.image || !l->batch.label || !l->index || !l->physical || !l->plain)
        return fault("no memory for %d images", p->batch);
    for (int i = 0; i < p->batch; i++)
        l->index[i] = i;
    return 0;
}

static int open_network(Library *l, const char *weights, const char *device, int threads)
{
    DeviceOptions options = {.threads = threads};
    options.images[0] = ninc_model.target[NINC_CUDA].eval.batch;
    if (parse_device(device, l, &options) < 0)
        return -1;
    l->device = device_open(&ninc_model, &l->table, &options, NULL);
    return l->device && allocate(l) == 0 ? load_weights(l, weights) : -1;
}

/* With a guard; false leaves the reason in l->error. */
static bool open_guarded(Library *l, const char *weights, const char *device, int threads)
{
    Guard g;
    guard_begin(&g, l->error);
    if (setjmp(g.rescue.back) != 0) {
        fault("%s", g.rescue.text);
    } else if (open_network(l, weights, device, threads) == 0) {
        l->error[0] = '\0';
    } else if (l->error[0] == '\0') {
        fault("it cannot be opened");
    }
    guard_end(&g);
    return l->error[0] == '\0';
}

Library *library_create(const char *weights, const char *device, int threads, char *error,
                        size_t error_size)
{
    Library *l = calloc(1, sizeof *l);
    if (l)
        l->process = getpid();
    if (l && pthread_mutex_init(&l->lock, NULL) == 0 && open_guarded(l, weights, device, threads))
        return l;
    if (error && error_size > 0)
        snprintf(error, error_size, "%s", l ? l->error : "no memory");
    library_free(l);
    return NULL;
}

/* Of its threads, its lock and what a driver keeps for it a child of fork() has but a torso. */
static bool is_here(const Library *l)
{
    return l->process == getpid();
}

static void close_device(Library *l)
{
    Guard g;
    char error[ERROR_BYTES];
    guard_begin(&g, error);
    if (setjmp(g.rescue.back) == 0) {
        l->table->use(l->device);
        l->table->close(l->device);
    }
    guard_end(&g);
}

void library_free(Library *l)
{
    if (!l)
        return;
    if (l->device && (is_here(l) || l->table == &ninc_cpu_device))
        close_device(l);
    if (is_here(l))
        pthread_mutex_destroy(&l->lock);
    free(l->batch.image);
    free(l->batch.label);
    free(l->index);
    free(l->physical);
    free(l->plain);
    free(l);
}

/* ---- the forward pass ---- */

/* At most a batch of images. */
static int run_batch(Library *l, const unsigned char *images, int count, float *logits)
{
    const Tensor *t = &l->logits->tensor;
    size_t image = (size_t)l->batch.h * (size_t)l->batch.w * (size_t)l->batch.c;
    StepInput input = {.data = &l->batch, .index = l->index, .valid = count, .logits_only = true};
    memcpy(l->batch.image, images, (size_t)count * image);
    l->batch.edition++;
    if (device_step(l->table, l->device, l->program, &input) < 0 ||
        l->table->read(l->device, &l->logits->at, 0, l->physical,
                       tensor_elements(t) * dtype_bytes(t->dtype)) < 0)
        return -1;
    tensor_unpack(t, l->physical, l->plain);
    memcpy(logits, l->plain, (size_t)count * (size_t)ninc_model.classes * sizeof *logits);
    return 0;
}

static int run_images(Library *l, const unsigned char *images, int count, float *logits)
{
    size_t image = (size_t)l->batch.h * (size_t)l->batch.w * (size_t)l->batch.c;
    if (count < 1)
        return fault("%d images; give at least 1", count);
    if (!images || !logits)
        return fault("no %s; give an array", images ? "place for logits" : "images");
    if (l->table->use(l->device) < 0)
        return -1;
    for (int at = 0; at < count; at += l->program->batch) {
        int left = count - at, some = left < l->program->batch ? left : l->program->batch;
        if (run_batch(l, images + (size_t)at * image, some,
                      logits + (size_t)at * (size_t)ninc_model.classes) < 0)
            return -1;
        if (left == some)
            break;
    }
    return 0;
}

/* With the lock. */
static int forward_guarded(Library *l, const unsigned char *images, int count, float *logits)
{
    Guard g;
    char error[ERROR_BYTES];
    volatile int status = -1;
    if (l->lost)
        return -1;
    guard_begin(&g, error);
    if (setjmp(g.rescue.back) == 0) {
        status = run_images(l, images, count, logits);
    } else {
        l->lost = true;
        fault("%s; this network cannot be used any more", g.rescue.text);
    }
    guard_end(&g);
    if (status < 0)
        memcpy(l->error, error, sizeof error);
    return status;
}

int library_forward(Library *l, const unsigned char *images, int count, float *logits)
{
    if (!l || !is_here(l))
        return -1;
    pthread_mutex_lock(&l->lock);
    int status = forward_guarded(l, images, count, logits);
    pthread_mutex_unlock(&l->lock);
    return status;
}

const char *library_error(Library *l)
{
    static _Thread_local char text[ERROR_BYTES];
    if (!l)
        return "there is no network";
    if (!is_here(l))
        return of_another_process;
    pthread_mutex_lock(&l->lock);
    memcpy(text, l->error, sizeof text);
    pthread_mutex_unlock(&l->lock);
    return text;
}
