/* The verifier: what each stage promises. It reads and never repairs. */
#include "verify.h"
#include "numbers.h"

#include <stdlib.h>
#include <string.h>

/* ---- types ---- */

/* Limits that keep every physical size far inside int64_t. */
enum { MAX_BLOCK = 256, MAX_HALO = 512, BLOCK_SLACK = 64 };

static bool is_sane_filter(const Tensor *t)
{
    const Layout *l = &t->layout;
    const int32_t *d = t->shape.dim;
    return t->shape.rank == 4 && l->block > 0 && l->block <= (int64_t)d[1] + BLOCK_SLACK &&
           l->out_block > 0 && l->out_block <= (int64_t)d[0] + BLOCK_SLACK;
}

static bool is_sane_layout(const Tensor *t)
{
    const Layout *l = &t->layout;
    bool blocked = l->block > 0 && l->block <= MAX_BLOCK && l->out_block == 0;
    bool no_halo = l->halo_h == 0 && l->halo_w == 0 && l->strip == 0;
    if (l->halo_h < 0 || l->halo_w < 0 || l->halo_h > MAX_HALO || l->halo_w > MAX_HALO)
        return false;
    if (l->strip < 0 || (l->strip > 0 && (t->shape.rank != 4 || l->strip > t->shape.dim[1])))
        return false;
    if (l->pairs && l->kind != LAYOUT_FILTER)
        return false;
    switch (l->kind) {
    case LAYOUT_PLAIN: return l->block == 0 && l->out_block == 0 && no_halo;
    case LAYOUT_NHWC:
        return t->shape.rank == 4 && l->block >= 0 && l->block <= MAX_BLOCK &&
               l->out_block == 0 && l->strip == 0;
    case LAYOUT_NIBBLE:
        return t->dtype == DT_U8 && t->shape.rank == 4 && l->block == 0 && l->out_block == 0 &&
               no_halo;
    case LAYOUT_NCHWC: return blocked && (t->shape.rank == 4 || t->shape.rank == 2);
    case LAYOUT_HCNWC: return blocked && no_halo && t->shape.rank == 4;
    case LAYOUT_FILTER:
    case LAYOUT_TAPS: return is_sane_filter(t) && no_halo;
    case LAYOUT_VECTOR: return blocked && t->shape.rank == 1 && no_halo;
    case LAYOUT_COUNT: break;
    }
    return false;
}

static bool is_sane_shape(const Shape *s)
{
    int64_t elements = 1;
    for (int i = 0; i < s->rank; i++) {
        elements *= s->dim[i];
        if (s->dim[i] < 1 || elements > INT32_MAX)
            return false;
    }
    return true;
}

static int64_t tensor_bytes(const Tensor *t)
{
    return tensor_elements(t) * dtype_bytes(t->dtype);
}

/* ---- the module ---- */

static bool check_ranges(const Verifier *v, const char *whose, SettingsOf *settings, int kind,
                         const void *of)
{
    static const char *const must[] = {[RANGE_RATE] = "be a float of at least 0",
                                       [RANGE_NUMBER] = "be a float",
                                       [RANGE_FRACTION] = "be in [0, 1) as a float",
                                       [RANGE_POSITIVE] = "be greater than 0 as a float",
                                       [RANGE_FLAG] = "be 0 or 1",
                                       [RANGE_PART] = "be in [0, 1]",
                                       [RANGE_SHARE] = "be greater than 0, and at most 1",
                                       [RANGE_WHOLE] = "be a whole number of at least 0",
                                       [RANGE_COUNT] = "be a whole number of at least 1",
                                       [RANGE_COUNT_OR_ALL] = "be a whole number of at least 0"};
    const Setting *s;
    for (int i = 0; (s = settings(kind, i)) != NULL; i++)
        if (!setting_fits(s, setting_of(of, s)))
            return verify_fault(v, (Loc){0}, "the %s's %s must %s", whose, s->name,
                                must[s->range]);
    return true;
}

static bool check_optimizer(const Verifier *v)
{
    const Optimizer *o = &v->m->optimizer;
    if (!check_ranges(v, "optimizer", optimizer_setting, (int)o->kind, o))
        return false;
    return o->nesterov == 0 || o->momentum != 0 ||
           verify_fault(v, (Loc){0}, "the optimizer's nesterov needs a momentum");
}

static bool check_schedule(const Verifier *v)
{
    const RateSchedule *r = &v->m->train.schedule;
    for (int i = 1; i < r->milestones; i++)
        if (r->milestone[i] <= r->milestone[i - 1])
            return verify_fault(v, (Loc){0}, "the schedule's milestones must rise");
    if (r->kind == RATE_REDUCE_ON_PLATEAU && r->by_step != 0)
        return verify_fault(v, (Loc){0}, "the schedule reduce_on_plateau goes by epochs");
    return check_ranges(v, "schedule", schedule_setting, (int)r->kind, r);
}

static bool check_class_weights(const Verifier *v)
{
    const ClassWeights *c = &v->m->class_weights;
    double sum = 0;
    for (int k = 0; c->how == WEIGH_LIST && k < v->m->classes; k++) {
        if (!fits_float(c->weight[k]) || c->weight[k] < 0)
            return verify_fault(v, (Loc){0}, "the weights of classes must be floats of at least 0");
        sum += c->weight[k];
    }
    return c->how != WEIGH_LIST || sum > 0 ||
           verify_fault(v, (Loc){0}, "some class must weigh more than 0");
}

static bool fits_transform(const Transform *t)
{
    switch (t->kind) {
    case TRANSFORM_TRANSPOSE:
    case TRANSFORM_GRAYSCALE: return t->h == 0 && t->w == 0;
    case TRANSFORM_CENTER_CROP: return t->h > 0 && t->w > 0;
    case TRANSFORM_RESIZE: return t->h > 0 && t->w >= 0;
    case TRANSFORM_COUNT: break;
    }
    return false;
}

static bool check_data(const Verifier *v)
{
    const DataSettings *d = &v->m->data;
    for (int i = 0; i < d->transforms; i++)
        if (!fits_transform(&d->transform[i]))
            return verify_fault(v, (Loc){0}, "the transform %s has not the size that it is to have",
                                transform_names[d->transform[i].kind]);
    return d->validation_split == 0 ||
           (fits_positive(d->validation_split) && d->validation_split < 1) ||
           verify_fault(v, (Loc){0}, "validation_split must be above 0 and below 1");
}

static bool check_settings(const Verifier *v)
{
    const Module *m = v->m;
    const Loc nowhere = {0};
    bool good = true;
    if (!verify_is_name(m->name, true))
        good = verify_fault(v, nowhere, "the model's name is not a name");
    if (m->image_h < 1 || m->image_w < 1 || m->image_c < 1 || m->classes < 1)
        good = verify_fault(v, nowhere, "the data set's image and classes must be at least 1");
    if (m->train.batch_size < 1 || m->train.epochs < 0)
        good = verify_fault(v, nowhere, "batch_size must be at least 1, epochs at least 0");
    if (m->train.early_stop < 0)
        good = verify_fault(v, nowhere, "early_stop must be at least 1 epoch");
    if (m->train.clip_grad_norm != 0 && !fits_positive(m->train.clip_grad_norm))
        good = verify_fault(v, nowhere, "clip_grad_norm must be greater than 0 as a float");
    if (m->train.ema != 0 && !(fits_positive(m->train.ema) && fits_fraction(m->train.ema)))
        good = verify_fault(v, nowhere, "ema must be above 0 and below 1 as a float");
    return check_data(v) && check_optimizer(v) && check_schedule(v) && check_class_weights(v) &&
           good;
}

static bool check_beside(const Verifier *v, const Storage *s)
{
    const Storage *of = s->of ? module_find_storage(v->m, s->of) : NULL;
    if (!of || !role_is_parameter(of->role))
        return verify_fault(v, s->loc, "@%s: a%s %s names its parameter by {of=@...}", s->name,
                            s->role == ROLE_AVERAGE ? "n" : "", role_names[s->role]);
    if (s->role == ROLE_AVERAGE && storage_average(v->m, of) != s)
        return verify_fault(v, s->loc, "@%s: the average of a parameter is named @%s.%s", s->name,
                            s->of, AVERAGE_NAME);
    return shape_equal(&of->tensor.shape, &s->tensor.shape) ||
           verify_fault(v, s->loc, "@%s has another shape than its parameter @%s", s->name, s->of);
}

static bool check_batches(const Verifier *v, const Storage *s)
{
    const Storage *of = s->of ? module_find_storage(v->m, s->of) : NULL;
    const Shape *shape = &s->tensor.shape;
    return (of && of->role == ROLE_MEAN && shape->rank == 1 && shape->dim[0] == 1) ||
           verify_fault(v, s->loc, "@%s: a number of batches is [1], and names the running mean by "
                                   "{of=@...}", s->name);
}

static bool check_training(const Verifier *v, const Storage *s)
{
    const Training *t = &s->training;
    bool own = t->lr_mult != 1 || t->weight_decay_mult != 1 || t->frozen || t->has_init;
    if (!(t->lr_mult >= 0) || !(t->weight_decay_mult >= 0))
        return verify_fault(v, s->loc, "@%s: lr_mult and weight_decay_mult must be at least 0",
                            s->name);
    return !own || role_is_parameter(s->role) ||
           verify_fault(v, s->loc, "@%s is no parameter, which lr_mult, weight_decay_mult, frozen "
                                   "and init are of", s->name);
}

static bool check_storage(const Verifier *v, const Storage *s)
{
    const Tensor *t = &s->tensor;
    if (!verify_is_name(s->name, true))
        return verify_fault(v, s->loc, "'%s' is not a name of storage", s->name);
    if (t->dtype != DT_F32 || !is_sane_shape(&t->shape))
        return verify_fault(v, s->loc, "@%s must be f32 of less than 2^31 elements", s->name);
    if (t->layout.kind != LAYOUT_PLAIN)
        return verify_fault(v, s->loc, "@%s: layouts belong to the targets", s->name);
    for (int target = 0; target < TARGET_COUNT; target++) {
        Tensor home = storage_tensor(s, (Target)target);
        if (!is_sane_layout(&home) || home.layout.halo_h || home.layout.halo_w ||
            home.layout.strip)
            return verify_fault(v, s->loc, "@%s: its layout does not fit its shape", s->name);
    }
    if (s->fan_in < 0 || s->fan_out < 0)
        return verify_fault(v, s->loc, "@%s: fan_in and fan_out must not be negative", s->name);
    if (!check_training(v, s))
        return false;
    switch (s->role) {
    case ROLE_WEIGHT:
    case ROLE_MATRIX:
        return t->shape.rank == 4 ||
               verify_fault(v, s->loc, "@%s: a weight is [O,I,KH,KW]", s->name);
    case ROLE_BIAS:
    case ROLE_SCALE:
    case ROLE_SHIFT:
    case ROLE_MEAN:
    case ROLE_VARIANCE:
        return t->shape.rank == 1 ||
               verify_fault(v, s->loc, "@%s: a %s is [O]", s->name, role_names[s->role]);
    case ROLE_MOMENT:
    case ROLE_AVERAGE: return check_beside(v, s);
    case ROLE_BATCHES: return check_batches(v, s);
    case ROLE_CLASSES:
        return (t->shape.rank == 1 && t->shape.dim[0] == v->m->classes &&
                strcmp(s->name, CLASS_WEIGHTS_NAME) == 0 &&
                v->m->class_weights.how != WEIGH_ALIKE) ||
               verify_fault(v, s->loc, "@%s: the weights of classes are @" CLASS_WEIGHTS_NAME
                                       " [%d], and the module says them", s->name, v->m->classes);
    case ROLE_COUNT: break;
    }
    return verify_fault(v, s->loc, "@%s: its role is unknown", s->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(Storage *const *)a)->name, (*(Storage *const *)b)->name);
}

/* A storage's bytes in a target's state region. */
typedef struct Extent {
    const Storage *storage;
    int64_t begin, end;
} Extent;

static int by_begin(const void *a, const void *b)
{
    int64_t x = ((const Extent *)a)->begin, y = ((const Extent *)b)->begin;
    return (x > y) - (x < y);
}

static Storage **sorted_storage(const Verifier *v, int (*order)(const void *, const void *))
{
    size_t count = (size_t)v->m->storage_count;
    Storage **list = pool_alloc(v->pool, count * sizeof(Storage *));
    for (size_t i = 0; i < count; i++)
        list[i] = v->m->storage[i];
    qsort(list, count, sizeof(Storage *), order);
    return list;
}

static bool check_storages(const Verifier *v)
{
    bool good = true;
    Storage **list = sorted_storage(v, by_name);
    for (int i = 0; i < v->m->storage_count; i++)
        good &= check_storage(v, v->m->storage[i]);
    for (int i = 1; i < v->m->storage_count; i++)
        if (strcmp(list[i - 1]->name, list[i]->name) == 0)
            good = verify_fault(v, list[i]->loc, "@%s is declared twice", list[i]->name);
    return good;
}

/* Once places are given: every storage has one, aligned, inside the region, of its own. */
static bool check_storage_places(const Verifier *v, Target target)
{
    int count = v->m->storage_count;
    Extent *list = pool_alloc(v->pool, (size_t)(count + 1) * sizeof *list);
    for (int i = 0; i < count; i++) {
        const Storage *s = v->m->storage[i];
        Tensor t = storage_tensor(s, target);
        list[i] = (Extent){s, s->home[target].offset, s->home[target].offset + tensor_bytes(&t)};
    }
    qsort(list, (size_t)count, sizeof *list, by_begin);
    for (int i = 0; i < count; i++) {
        const Storage *s = list[i].storage;
        int64_t limit = i + 1 < count ? list[i + 1].begin : v->m->state_bytes[target];
        if (list[i].begin < 0 || list[i].begin % PLACE_ALIGNMENT != 0)
            return verify_fault(v, s->loc, "@%s must lie at a multiple of %d bytes", s->name,
                                PLACE_ALIGNMENT);
        if (list[i].end > limit)
            return verify_fault(v, s->loc,
                                "@%s overlaps what follows it or leaves the state region", s->name);
    }
    return true;
}

/* ---- nodes ---- */

/* A leaf of this graph, or a node that stands before position `at`. */
static bool is_defined(const Graph *g, const Node *n, int at)
{
    if (!n)
        return false;
    if (n->op != OP_STATE)
        return n->id >= 0 && n->id < at && g->node[n->id] == n;
    int index = n->storage ? n->storage->index : -1;
    return index >= 0 && index < g->state_of_capacity && g->state_of[index] == n;
}

static bool lies_as_storage(const Graph *g, const Node *n)
{
    Tensor home = storage_tensor(n->storage, g->target);
    return verify_same_tensor(&n->tensor, &home);
}

/* Numbers are the values' names. */
static bool numbers_are_apart(const Verifier *v)
{
    const Graph *g = v->g;
    Pool *pool = pool_new();
    bool *taken = pool_alloc(pool, (size_t)g->next_number + 1), apart = true;
    for (int i = 0; i < g->node_count && apart; i++) {
        const Node *n = g->node[i];
        if (n->op == OP_INPUT || n->op == OP_UPDATE)
            continue;
        apart = n->number >= 0 && n->number < g->next_number && !taken[n->number];
        if (apart)
            taken[n->number] = true;
        else
            verify_node_fault(v, n, "its number is another value's, or none of the graph's");
    }
    pool_free(pool);
    return apart;
}

/* What everything else relies on: ids, order of definitions, arity. */
static bool check_structure(const Verifier *v)
{
    const Graph *g = v->g;
    for (int i = 0; i < g->state_count; i++)
        if (!is_defined(g, g->state[i], 0) || !lies_as_storage(g, g->state[i]))
            return verify_node_fault(v, g->state[i], "its type is not that of its storage");
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        if (n->op >= OP_COUNT || n->op == OP_STATE || n->id != i)
            return verify_fault(v, n->loc, "node %d is out of place", i);
        if (n->arity < op_min_operands(n->op) || n->arity > op_max_operands(n->op))
            return verify_node_fault(v, n, "it has the wrong number of operands");
        for (int k = 0; k < n->arity; k++)
            if (!is_defined(g, n->in[k], i))
                return verify_node_fault(v, n, "an operand is not defined before it");
        if ((n->op == OP_UPDATE) != (n->storage != NULL))
            return verify_node_fault(v, n, "only updates have storage, and all of them do");
    }
    if (!numbers_are_apart(v))
        return false;
    for (int i = 0; i < g->output_count; i++)
        if (!is_defined(g, g->output[i].node, g->node_count))
            return verify_fault(v, (Loc){0}, "output %s is not a value of the graph",
                                g->output[i].name);
    return graph_uses_are_current(g) ||
           verify_fault(v, (Loc){0}, "its uses were found before it was edited");
}

static bool check_input(const Verifier *v, const Node *n)
{
    const Shape *s = &n->tensor.shape;
    if (!verify_is_identifier(n->name))
        return verify_node_fault(v, n, "its name is not an identifier");
    if (n->id > 0 && v->g->node[n->id - 1]->op != OP_INPUT)
        return verify_node_fault(v, n, "inputs come before all other nodes");
    for (int i = 0; i < n->id; i++)
        if (strcmp(v->g->node[i]->name, n->name) == 0)
            return verify_node_fault(v, n, "there is another input of that name");
    return s->rank == 0 || s->dim[0] == v->g->batch ||
           verify_node_fault(v, n, "its first extent is not the batch");
}

static bool check_type(const Verifier *v, const Node *n)
{
    Tensor type = n->tensor;
    if (type.dtype >= DT_COUNT || type.shape.rank < 0 || type.shape.rank > TENSOR_MAX_RANK ||
        !is_sane_shape(&type.shape))
        return verify_node_fault(v, n, "its type is not a type");
    if (!infer_type(v->d, n->op, n->arity, n->in, &n->attr, n->loc, &type))
        return false;
    if (type.dtype != n->tensor.dtype || !shape_equal(&type.shape, &n->tensor.shape))
        return verify_node_fault(v, n, "its type is not what its operands give");
    if (!is_sane_layout(&n->tensor))
        return verify_node_fault(v, n, "its layout does not fit its shape");
    if (n->op == OP_UPDATE && !lies_as_storage(v->g, n))
        return verify_node_fault(v, n, "its type is not that of its storage");
    if (verify_works_on_images(n->op) && n->tensor.shape.dim[0] != v->g->batch)
        return verify_node_fault(v, n, "its first extent is not the batch");
    bool product = op_is(n->op, F_FREQUENCIES);
    if (n->math == MATH_I16 && (!product || target_kind(v->g->target) != KIND_VECTORS))
        return verify_node_fault(v, n, "only Winograd products on a CPU are in fixed point");
    return n->tile.pixels >= 0 && n->tile.vectors >= 0
               ? true
               : verify_node_fault(v, n, "its tile is negative");
}

/* One update a storage, and no read behind it. */
static bool check_updates(const Verifier *v)
{
    const Graph *g = v->g;
    bool *written = pool_alloc(v->pool, (size_t)v->m->storage_count + 1);
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        if (n->op == OP_UPDATE && written[n->storage->index])
            return verify_node_fault(v, n, "its storage is updated twice");
        for (int k = 0; k < n->arity; k++)
            if (n->in[k]->op == OP_STATE && written[n->in[k]->storage->index])
                return verify_node_fault(v, n, "it reads storage that was updated before it");
        if (n->op == OP_UPDATE)
            written[n->storage->index] = true;
    }
    return true;
}

static bool check_outputs(const Verifier *v)
{
    const Graph *g = v->g;
    for (int i = 0; i < g->output_count; i++) {
        if (!verify_is_identifier(g->output[i].name))
            return verify_fault(v, (Loc){0}, "output %d has no proper name", i);
        if (g->output[i].node->op == OP_UPDATE)
            return verify_fault(v, (Loc){0}, "output %s is an update", g->output[i].name);
        for (int j = 0; j < i; j++)
            if (strcmp(g->output[i].name, g->output[j].name) == 0)
                return verify_fault(v, (Loc){0}, "output %s is returned twice", g->output[i].name);
    }
    return true;
}

static bool check_nodes(const Verifier *v)
{
    bool good = true;
    for (int i = 0; i < v->g->node_count; i++) {
        const Node *n = v->g->node[i];
        if (n->op == OP_INPUT)
            good &= check_input(v, n);
        good &= check_type(v, n);
    }
    return good && check_updates(v) && check_outputs(v);
}

/* ---- graphs ---- */

static bool check_graph(const Verifier *v)
{
    const Graph *g = v->g;
    if (!verify_is_identifier(g->name) || g->stage >= STAGE_COUNT || g->target >= TARGET_COUNT)
        return verify_fault(v, (Loc){0}, "its name, stage or target is unknown");
    if (g->batch < 1)
        return verify_fault(v, (Loc){0}, "its batch must be at least 1");
    if (!check_structure(v) || !check_nodes(v))
        return false;
    if (g->stage < STAGE_KERNELS)
        return g->kernel_count == 0 ||
               verify_fault(v, (Loc){0}, "there are no kernels before fuse");
    return verify_kernels(v) && (g->stage < STAGE_SCHEDULED || verify_schedule(v)) &&
           (g->stage < STAGE_LAID_OUT || verify_layouts(v)) &&
           (g->stage < STAGE_PLANNED || verify_places(v));
}

bool module_verify(const Module *m, Diagnostics *d)
{
    Pool *pool = pool_new();
    Verifier v = {.m = m, .d = d, .pool = pool};
    NameTable given_twice[TARGET_COUNT] = {{0}};
    bool planned[TARGET_COUNT] = {false};
    verify_find_names_given_twice(m, pool, given_twice);
    v.given_twice = given_twice;
    bool good = check_settings(&v) && check_storages(&v);
    for (int i = 0; good && i < m->graph_count; i++) {
        v.g = m->graph[i];
        v.pool = pool_new();
        good &= check_graph(&v);
        pool_free(v.pool);
        if (good)
            planned[v.g->target] |= v.g->stage == STAGE_PLANNED;
    }
    v.g = NULL;
    v.pool = pool;
    for (int t = 0; good && t < TARGET_COUNT; t++)
        if (planned[t])
            good = check_storage_places(&v, (Target)t);
    pool_free(pool);
    return good;
}
