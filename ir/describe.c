/* How a module is trained, for people: what its header says, and which parameters are frozen. */
#include "ir.h"
#include "numbers.h"
#include "text.h"

#include <string.h>

enum { DESCRIPTION_COLUMNS = 78, CLASSES_LISTED = 12 };

/* Appends a line, broken at blanks where it is too long, and makes it empty. */
static void end_line(Text *line, Text *out)
{
    const char *at = line->data, *indent = "";
    while (strlen(at) > DESCRIPTION_COLUMNS) {
        int end = DESCRIPTION_COLUMNS;
        while (end > 0 && at[end] != ' ')
            end--;
        if (end == 0)
            break;
        text_append(out, "%s%.*s\n", indent, end, at);
        at += end + 1;
        indent = "  ";
    }
    text_append(out, "%s%s\n", indent, at);
    text_free(line);
}

static void describe_loss(const Module *m, Text *out)
{
    const Graph *g = m->graph_count > 0 ? m->graph[0] : NULL;
    const Node *mean = g ? graph_find_output(g, "loss") : NULL;
    Text line = {0};
    text_append(&line, "loss cross_entropy");
    if (mean && op_attr(mean->in[0]->op) == ATTR_SMOOTHING)
        attr_print(mean->in[0], &line);
    if (m->class_weights.how == WEIGH_LIST && m->classes > CLASSES_LISTED)
        text_append(&line, " " CLASS_WEIGHTS_NAME " of %d classes", m->classes);
    else if (m->class_weights.how != WEIGH_ALIKE) {
        text_append(&line, " " CLASS_WEIGHTS_NAME " ");
        class_weights_print(m, &line);
    }
    end_line(&line, out);
}

/* What there is of clip_grad_norm, ema and early_stop. */
static void describe_settings(const TrainSettings *t, Text *out)
{
    char digits[32];
    Text line = {0};
    if (t->clip_grad_norm > 0)
        text_append(&line, ", clip_grad_norm %s", format_double(t->clip_grad_norm, digits));
    if (t->ema > 0)
        text_append(&line, ", ema %s", format_double(t->ema, digits));
    if (t->early_stop > 0)
        text_append(&line, ", early_stop after %d epoch%s without a better accuracy",
                    t->early_stop, t->early_stop == 1 ? "" : "s");
    if (line.length > 0)
        text_append(out, "%s\n", line.data + 2);
    text_free(&line);
}

/* The layer of a parameter: its name without what is behind the last dot. */
static int layer_length(const Storage *s)
{
    const char *end = strrchr(s->name, '.');
    return end ? (int)(end - s->name) : (int)strlen(s->name);
}

static void describe_frozen(const Module *m, Text *out)
{
    const Storage *last = NULL;
    int64_t frozen = 0, all = 0;
    char count[32], of[32];
    Text line = {0};
    for (int i = 0; i < m->storage_count; i++) {
        const Storage *s = m->storage[i];
        if (!role_is_parameter(s->role))
            continue;
        all += shape_elements(&s->tensor.shape);
        if (!s->training.frozen)
            continue;
        frozen += shape_elements(&s->tensor.shape);
        if (!last || layer_length(last) != layer_length(s) ||
            strncmp(last->name, s->name, (size_t)layer_length(s)) != 0)
            text_append(&line, " %.*s", layer_length(s), s->name);
        last = s;
    }
    if (!last)
        return;
    text_append(&line, ": %s of %s parameters", format_count(frozen, count),
                format_count(all, of));
    Text whole = {0};
    text_append(&whole, "frozen%s", line.data);
    text_free(&line);
    end_line(&whole, out);
}

/* What is made of the images, which of them validate, how they are drawn. */
static void describe_data(const Module *m, Text *out)
{
    Text line = {0};
    data_settings_print(&m->data, &line);
    if (m->train.sampler != SAMPLER_SHUFFLE)
        text_append(&line, " sampler=%s", sampler_names[m->train.sampler]);
    if (line.length > 0) {
        Text whole = {0};
        text_append(&whole, "images%s", line.data);
        end_line(&whole, out);
    }
    text_free(&line);
}

void training_describe(const Module *m, Text *out)
{
    Text line = {0};
    optimizer_print(&m->optimizer, true, &line);
    end_line(&line, out);
    if (m->train.schedule.kind != RATE_CONSTANT) {
        schedule_print(&m->train.schedule, &line);
        end_line(&line, out);
    }
    describe_loss(m, out);
    describe_settings(&m->train, out);
    describe_data(m, out);
    describe_frozen(m, out);
}
