/* What a run shows of its parameters and gradients. */
#include "train.h"

#include <math.h>
#include <stdlib.h>

struct Watch {
    Pool *pool; /* of the IR */
    Values values;
    const Node **gradient; /* by index of the module's storage; NULL: it has none */
    double *value;         /* room for any parameter or gradient */
};

Watch *watch_open(const NincModel *model, const DeviceTable *table, Device *device)
{
    Pool *pool = pool_new();
    Watch *w = pool_alloc(pool, sizeof *w);
    const Graph *g = plan_graph(plan_module(pool), device_programs(table), "train");
    const Module *m = g->module;
    int64_t most = 0;
    *w = (Watch){.pool = pool,
                 .values = {.graph = g,
                            .program = &device_target(model, table)->train,
                            .table = table,
                            .device = device,
                            .images = g->batch},
                 .gradient = pool_alloc(pool, ((size_t)m->storage_count + 1) * sizeof(Node *))};
    for (int i = 0; i < m->storage_count; i++) {
        const Storage *s = m->storage[i];
        int64_t count = shape_elements(&s->tensor.shape);
        most = count > most ? count : most;
        w->gradient[i] = role_is_parameter(s->role) ? gradient_of(g, s) : NULL;
    }
    w->value = pool_alloc(pool, ((size_t)most + 1) * sizeof *w->value);
    return w;
}

void watch_close(Watch *w)
{
    if (w)
        pool_free(w->pool);
}

/* Storage i into w->value: the parameter or its gradient. Returns how many elements it has: 0 where
 * there is no such tensor; -1 after a message. */
static int64_t read_tensor(const Watch *w, int i, bool gradient)
{
    const Storage *s = w->values.graph->module->storage[i];
    if (role_is_beside_parameter(s->role) || s->role == ROLE_CLASSES ||
        (gradient && !w->gradient[i]))
        return 0;
    int64_t dirty = gradient ? values_read(&w->values, w->gradient[i], w->value)
                             : values_read_storage(&w->values, s, w->value);
    return dirty < 0 ? -1 : shape_elements(&s->tensor.shape);
}

/* ---- histograms ---- */

static int write_histogram(const Watch *w, int i, bool gradient, Histogram *h, Tensorboard *board,
                           int64_t step)
{
    char tag[256];
    const Storage *s = w->values.graph->module->storage[i];
    int64_t count = read_tensor(w, i, gradient);
    if (count <= 0)
        return count < 0 ? -1 : 0;
    snprintf(tag, sizeof tag, "%s/%s", gradient ? "gradients" : "parameters", s->name);
    histogram_clear(h);
    histogram_add(h, w->value, count);
    return tensorboard_histogram(board, step, tag, h);
}

int watch_histograms(const Watch *w, Tensorboard *board, int64_t step)
{
    Histogram h;
    int status = 0;
    histogram_init(&h);
    for (int i = 0; i < w->values.graph->module->storage_count && status == 0; i++) {
        status = write_histogram(w, i, false, &h, board, step);
        if (status == 0)
            status = write_histogram(w, i, true, &h, board, step);
    }
    histogram_free(&h);
    return status == 0 ? tensorboard_flush(board) : -1;
}

/* ---- what is not finite ---- */

static int64_t count_bad(const double *value, int64_t count)
{
    int64_t bad = 0;
    for (int64_t i = 0; i < count; i++)
        bad += !isfinite(value[i]);
    return bad;
}

/* 1: found one, and said so in text. */
static int find_bad(const Watch *w, bool gradient, char *text, size_t size)
{
    const Module *m = w->values.graph->module;
    for (int i = 0; i < m->storage_count; i++) {
        int64_t count = read_tensor(w, i, gradient), bad;
        if (count < 0)
            return -1;
        if ((bad = count_bad(w->value, count)) == 0)
            continue;
        snprintf(text, size, "the first bad %s is %s (%lld of %lld values are not finite)",
                 gradient ? "gradient" : "parameter", m->storage[i]->name, (long long)bad,
                 (long long)count);
        return 1;
    }
    return 0;
}

int watch_find_bad(const Watch *w, char *text, size_t size)
{
    int found = find_bad(w, false, text, size);
    if (found == 0)
        found = find_bad(w, true, text, size);
    if (found == 0)
        snprintf(text, size, "all parameters and gradients are finite");
    return found < 0 ? -1 : 0;
}
