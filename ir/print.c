/* The IR text: what ir/parse.c reads. Every field that a stage has set stands in it. */
#include "print_parts.h"

#include <string.h>

/* Alignment stops at these widths; a longer cell pushes its own row only. */
enum {
    NAME_COLUMNS = 10,
    STORAGE_COLUMNS = 40,
    TYPE_COLUMNS = 40,
    BODY_COLUMNS = 96,
    LINE_COLUMNS = 100
};

/* ---- names ---- */

static void print_name(const Graph *g, const Node *n, Text *out)
{
    if (n->storage)
        text_append(out, "@%s", n->storage->name);
    else if (n->op == OP_INPUT)
        text_append(out, "%%%s", n->name);
    else if (n->id >= 0 && n->id < g->node_count && g->node[n->id] == n)
        text_append(out, "%%%d", n->number);
    else
        text_append(out, "%%?"); /* not in the graph: the verifier says so */
}

/* ---- types ---- */

static void print_layout(const Layout *l, Text *out)
{
    if (l->kind == LAYOUT_PLAIN && !l->halo_h && !l->halo_w && !l->strip)
        return;
    switch (l->kind) {
    case LAYOUT_PLAIN:
    case LAYOUT_COUNT: text_append(out, " {plain"); break;
    case LAYOUT_NHWC:
        text_append(out, " {nhwc");
        if (l->block)
            text_append(out, " c%d", l->block);
        break;
    case LAYOUT_NIBBLE: text_append(out, " {nibble"); break;
    case LAYOUT_NCHWC: text_append(out, " {nchw%dc", l->block); break;
    case LAYOUT_HCNWC: text_append(out, " {hcnw%dc", l->block); break;
    case LAYOUT_FILTER:
        text_append(out, " {filter c%d o%d%s", l->block, l->out_block, l->pairs ? " pairs" : "");
        break;
    case LAYOUT_TAPS: text_append(out, " {taps c%d o%d", l->block, l->out_block); break;
    case LAYOUT_VECTOR: text_append(out, " {vector %d", l->block); break;
    }
    if (l->halo_h != l->halo_w)
        print_pair(out, "halo", l->halo_h, l->halo_w);
    else if (l->halo_h)
        text_append(out, " halo=%d", l->halo_h);
    if (l->strip)
        text_append(out, " strip=%d", l->strip);
    text_append(out, "}");
}

static void print_type(const Tensor *t, Text *out)
{
    text_append(out, "%s[", dtype_name(t->dtype));
    for (int i = 0; i < t->shape.rank; i++)
        text_append(out, "%s%d", i ? "," : "", t->shape.dim[i]);
    text_append(out, "]");
    print_layout(&t->layout, out);
}

/* ---- positions ---- */

/* Other characters are written in quotes. */
static bool is_bare(const char *file)
{
    for (const char *p = file; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              strchr("_./+-<>", *p)))
            return false;
    return *file != '\0';
}

static void print_loc(Loc loc, Text *out)
{
    if (!loc.file)
        return;
    text_append(out, "loc ");
    if (is_bare(loc.file))
        text_append(out, "%s", loc.file);
    else
        print_quoted(loc.file, out);
    text_append(out, ":%d:%d", loc.line, loc.column);
}

/* ---- rows: name : type = body  loc ---- */

typedef struct Row {
    char *name, *type, *body, *loc;
} Row;

typedef struct Widths {
    int name, type, body; /* columns to pad to */
} Widths;

/* Moves what was printed into the pool, and makes the scratch text empty. */
static char *take(Text *scratch, Pool *pool)
{
    char *copy = pool_strdup(pool, scratch->length ? scratch->data : "");
    text_free(scratch);
    return copy;
}

static void print_body(const Graph *g, const Node *n, Text *out)
{
    text_append(out, "%s", op_name(n->op));
    for (int i = 0; i < n->arity; i++) {
        text_append(out, i ? ", " : " ");
        print_name(g, n->in[i], out);
    }
    attr_print(n, out);
    if (n->math != MATH_FP32)
        text_append(out, " math=%s", math_names[n->math]);
    if (n->tile.pixels || n->tile.vectors)
        print_pair(out, "tile", n->tile.pixels, n->tile.vectors);
    if (n->sparse != SPARSE_NONE)
        text_append(out, " sparse=%s", sparse_names[n->sparse]);
    if (n->place.region != REGION_NONE && n->place.region != REGION_STATE)
        text_append(out, " at %s+%lld:%lld", region_names[n->place.region],
                    (long long)n->place.offset, (long long)n->place.bytes);
}

static Row node_row(const Graph *g, const Node *n, Pool *pool)
{
    Row row;
    Text text = {0};
    print_name(g, n, &text);
    row.name = take(&text, pool);
    print_type(&n->tensor, &text);
    row.type = take(&text, pool);
    print_body(g, n, &text);
    row.body = take(&text, pool);
    print_loc(n->loc, &text);
    row.loc = take(&text, pool);
    return row;
}

static void widen(int *width, const char *cell, int limit)
{
    int columns = (int)strlen(cell);
    if (columns > *width && columns <= limit)
        *width = columns;
}

static Widths measure(const Row *row, int count, int name_columns)
{
    Widths w = {0};
    for (int i = 0; i < count; i++) {
        widen(&w.name, row[i].name, name_columns);
        widen(&w.type, row[i].type, TYPE_COLUMNS);
        widen(&w.body, row[i].body, BODY_COLUMNS);
    }
    return w;
}

/* Spaces up to `column` of the line that began at `start`; none when it is reached already. */
static void pad_to(Text *out, size_t start, int column)
{
    int missing = column - (int)(out->length - start);
    if (missing > 0)
        text_append(out, "%*s", missing, "");
}

static void print_row(const Row *row, const Widths *w, bool with_loc, Text *out)
{
    enum { COLON = 3, EQUALS = 3, GAP = 2 };
    size_t start = out->length;
    int equals = w->name + COLON + w->type;
    text_append(out, "%s", row->name);
    pad_to(out, start, w->name);
    text_append(out, " : %s", row->type);
    pad_to(out, start, equals);
    text_append(out, " = %s", row->body);
    if (with_loc && row->loc[0]) {
        pad_to(out, start, equals + EQUALS + w->body);
        text_append(out, "%*s%s", GAP, "", row->loc);
    }
    text_append(out, "\n");
}

/* ---- graphs ---- */

/* What printing a graph needs: each node's cells, by id, and their widths. */
typedef struct GraphText {
    Pool *pool;
    Row *row;
    Widths widths;
} GraphText;

static GraphText graph_text(const Graph *g)
{
    GraphText t = {.pool = pool_new()};
    t.row = pool_alloc(t.pool, (size_t)g->node_count * sizeof *t.row);
    for (int i = 0; i < g->node_count; i++)
        t.row[i] = node_row(g, g->node[i], t.pool);
    t.widths = measure(t.row, g->node_count, NAME_COLUMNS);
    return t;
}

/* A list of names in parentheses, broken before the line gets too long. */
static void print_names(const Graph *g, Node *const *list, int count, const char *prefix,
                        size_t *line_start, Text *out)
{
    text_append(out, "(");
    for (int i = 0; i < count; i++) {
        size_t before = out->length;
        text_append(out, i ? ", " : "");
        print_name(g, list[i], out);
        if (out->length - *line_start <= LINE_COLUMNS || i == 0)
            continue;
        out->length = before;
        text_append(out, ",\n");
        *line_start = out->length;
        text_append(out, "%s    ", prefix);
        print_name(g, list[i], out);
    }
    text_append(out, ")");
}

static void print_field(const char *key, int value, Text *out)
{
    if (value)
        text_append(out, " %s=%d", key, value);
}

/* ` schedule=[128x128x32 stages=4 split=7 threads=256 shared=73728 grid=92x2 sm=80, ...]`; numbers
 * that are 0, and a split of 1, are left out. */
static void print_schedules(const Kernel *k, Text *out)
{
    for (int i = 0; i < k->schedule_count; i++) {
        const Schedule *s = &k->schedule[i];
        text_append(out, i ? ", " : " schedule=[");
        text_append(out, "%dx%dx%d", s->tile_m, s->tile_n, s->tile_k);
        print_field("stages", s->stages, out);
        print_field("split", s->split == 1 ? 0 : s->split, out);
        print_field("threads", s->threads, out);
        print_field("shared", s->shared_bytes, out);
        text_append(out, " grid=%dx%d", s->grid_x, s->grid_y);
        print_field("sm", s->architecture, out);
    }
    if (k->schedule_count)
        text_append(out, "]");
}

/* How a kernel's rows are printed. */
typedef struct KernelText {
    const Graph *graph;
    const Row *row; /* by node id less `first` */
    int first;
    const Widths *widths;
    const char *prefix;
    bool with_loc;
} KernelText;

static void print_kernel(const KernelText *t, const Kernel *k, Text *out)
{
    const char *prefix = t->prefix;
    size_t line_start = out->length;
    text_append(out, "%skernel %s %s %s", prefix, k->name, class_names[k->class],
                phase_names[k->phase]);
    if (k->strip)
        text_append(out, " strip=%d", k->strip);
    print_schedules(k, out);
    text_append(out, " ");
    print_names(t->graph, k->in, k->in_count, prefix, &line_start, out);
    text_append(out, " -> ");
    print_names(t->graph, k->out, k->out_count, prefix, &line_start, out);
    text_append(out, " {\n");
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        if (n->id < 0 || n->id >= t->graph->node_count)
            internal_error("kernel %s holds a node that is not in its graph", k->name);
        text_append(out, "%s  ", prefix);
        print_row(&t->row[n->id - t->first], t->widths, t->with_loc, out);
    }
    text_append(out, "%s}\n", prefix);
}

static void print_bytes(const char *key, int64_t value, Text *out)
{
    if (value)
        text_append(out, " %s=%lld", key, (long long)value);
}

static void print_graph_header(const Graph *g, Text *out)
{
    text_append(out, "graph %s.%s batch=%d stage=%s target=%s", g->module->name, g->name, g->batch,
                stage_names[g->stage], target_names[g->target]);
    print_bytes("chunk", g->chunk, out);
    print_bytes("shared", g->shared_bytes, out);
    print_bytes("chunk_bytes", g->chunk_bytes, out);
    print_bytes("thread", g->thread_bytes, out);
    print_bytes("shared_bound", g->shared_bound, out);
    print_bytes("chunk_bound", g->chunk_bound, out);
    print_bytes("thread_bound", g->thread_bound, out);
    text_append(out, " {\n");
}

void graph_print(const Graph *g, Text *out)
{
    GraphText t = graph_text(g);
    print_graph_header(g, out);
    for (int i = 0; i < g->node_count; i++) {
        if (g->node[i]->kernel)
            continue;
        text_append(out, "  ");
        print_row(&t.row[i], &t.widths, true, out);
    }
    for (int i = 0; i < g->kernel_count; i++)
        print_kernel(&(KernelText){g, t.row, 0, &t.widths, "  ", true}, g->kernel[i], out);
    if (g->output_count > 0)
        text_append(out, "  return ");
    for (int i = 0; i < g->output_count; i++) {
        text_append(out, "%s%s=", i ? ", " : "", g->output[i].name);
        print_name(g, g->output[i].node, out);
    }
    text_append(out, g->output_count > 0 ? "\n}\n" : "}\n");
    pool_free(t.pool);
}

void node_print(const Graph *g, const Node *n, Text *out)
{
    Pool *pool = pool_new();
    Row row = node_row(g, n, pool);
    text_append(out, "%s : %s = %s", row.name, row.type, row.body);
    pool_free(pool);
}

/* Positions are left out: the text goes into emitted code, which must not depend on them. The nodes
 * of a kernel follow one another in its graph. */
void kernel_print(const Graph *g, const Kernel *k, const char *prefix, Text *out)
{
    Pool *pool = pool_new();
    Row *row = pool_alloc(pool, (size_t)k->node_count * sizeof *row);
    for (int i = 0; i < k->node_count; i++) {
        if (k->node[i]->id != k->node[0]->id + i)
            internal_error("kernel %s is not in one piece", k->name);
        row[i] = node_row(g, k->node[i], pool);
    }
    Widths widths = measure(row, k->node_count, NAME_COLUMNS);
    int first = k->node_count > 0 ? k->node[0]->id : 0;
    print_kernel(&(KernelText){g, row, first, &widths, prefix, false}, k, out);
    pool_free(pool);
}

/* ---- modules ---- */

/* ` NAME=VALUE` each, of a flag that is set ` NAME`. */
static void print_settings(SettingsOf *settings, int kind, const void *of, bool with_lr, Text *out)
{
    const Setting *s;
    for (int i = 0; (s = settings(kind, i)) != NULL; i++) {
        if (s->range == RANGE_FLAG) {
            if (setting_of(of, s) != 0)
                text_append(out, " %s", s->name);
        } else if (setting_is_whole(s)) {
            text_append(out, " %s=%.0f", s->name, setting_of(of, s));
        } else if (with_lr || strcmp(s->name, "lr") != 0) {
            text_append(out, " ");
            print_number(s->name, setting_of(of, s), out);
        }
    }
}

void optimizer_print(const Optimizer *o, bool with_lr, Text *out)
{
    text_append(out, "optimizer %s", optimizer_names[o->kind]);
    print_settings(optimizer_setting, (int)o->kind, o, with_lr, out);
}

void schedule_print(const RateSchedule *r, Text *out)
{
    text_append(out, "schedule %s", rate_names[r->kind]);
    for (int i = 0; i < r->milestones; i++)
        text_append(out, "%s%d", i ? "," : " milestones=[", r->milestone[i]);
    text_append(out, r->milestones ? "]" : "");
    print_settings(schedule_setting, (int)r->kind, r, true, out);
}

void class_weights_print(const Module *m, Text *out)
{
    const ClassWeights *c = &m->class_weights;
    char digits[32];
    if (c->how == WEIGH_BALANCED)
        text_append(out, "balanced");
    for (int k = 0; c->how == WEIGH_LIST && k < m->classes; k++)
        text_append(out, "%s%s", k ? "," : "[", format_double(c->weight[k], digits));
    text_append(out, c->how == WEIGH_LIST ? "]" : "");
}

static void print_header(const Module *m, Text *out)
{
    const TrainSettings *t = &m->train;
    text_append(out, "module %s {\n", m->name);
    text_append(out, "  dataset %s image=%dx%dx%d classes=%d", m->dataset, m->image_h, m->image_w,
                m->image_c, m->classes);
    data_settings_print(&m->data, out);
    text_append(out, "\n  ");
    optimizer_print(&m->optimizer, true, out);
    text_append(out, "\n  train");
#define X(setting, ...) text_append(out, " " #setting "=%d", t->setting);
    IR_TRAIN_SETTINGS(X)
#undef X
    text_append(out, " init=%s", init_names[t->init]);
    if (t->init == INIT_NORMAL)
        print_number(" std", t->init_std, out);
    if (t->clip_grad_norm > 0)
        print_number(" clip_grad_norm", t->clip_grad_norm, out);
    if (t->ema > 0)
        print_number(" ema", t->ema, out);
    if (t->early_stop > 0)
        text_append(out, " early_stop=%d", t->early_stop);
    if (t->sampler != SAMPLER_SHUFFLE)
        text_append(out, " sampler=%s", sampler_names[t->sampler]);
    if (t->schedule.kind != RATE_CONSTANT) {
        text_append(out, "\n  ");
        schedule_print(&t->schedule, out);
    }
    if (m->class_weights.how != WEIGH_ALIKE) {
        text_append(out, "\n  " CLASS_WEIGHTS_NAME " ");
        class_weights_print(m, out);
    }
    for (int i = 0, printed = 0; i < TARGET_COUNT; i++)
        if (m->state_bytes[i])
            text_append(out, "%s %s=%lld", printed++ ? "" : "\n  state", target_names[i],
                        (long long)m->state_bytes[i]);
    text_append(out, "\n}\n");
}

/* ` cpu {layout} at OFFSET`, as far as it is known. */
static void print_home(const Home *home, const char *target, Text *out)
{
    if (home->offset < 0 && home->layout.kind == LAYOUT_PLAIN)
        return;
    text_append(out, " %s", target);
    print_layout(&home->layout, out);
    if (home->offset >= 0)
        text_append(out, " at %lld", (long long)home->offset);
}

void training_print(const Training *t, Text *out)
{
    if (t->lr_mult != 1)
        print_number(" lr_mult", t->lr_mult, out);
    if (t->weight_decay_mult != 1)
        print_number(" weight_decay_mult", t->weight_decay_mult, out);
    text_append(out, t->frozen ? " frozen" : "");
}

/* ` {fan_in=25 fan_out=1200 ...}`, what there is of it. */
static void print_parameter(const Storage *s, Text *out)
{
    Text inside = {0};
    if (s->fan_in || s->fan_out)
        text_append(&inside, " fan_in=%d fan_out=%d", s->fan_in, s->fan_out);
    training_print(&s->training, &inside);
    if (s->training.has_init)
        text_append(&inside, " init=%s", init_names[s->training.init]);
    if (s->training.has_init && s->training.init == INIT_NORMAL)
        print_number(" std", s->training.init_std, &inside);
    if (inside.length > 0)
        text_append(out, " {%s}", inside.data + 1);
    text_free(&inside);
}

static Row storage_row(const Storage *s, Pool *pool)
{
    Row row;
    Text text = {0};
    row.name = pool_format(pool, "@%s", s->name);
    print_type(&s->tensor, &text);
    row.type = take(&text, pool);
    text_append(&text, "%s", role_names[s->role]);
    if (s->of)
        text_append(&text, " {of=@%s}", s->of);
    else
        print_parameter(s, &text);
    for (int t = 0; t < TARGET_COUNT; t++)
        print_home(&s->home[t], target_names[t], &text);
    row.body = take(&text, pool);
    print_loc(s->loc, &text);
    row.loc = take(&text, pool);
    return row;
}

static void print_storage(const Module *m, Text *out)
{
    Pool *pool = pool_new();
    Row *row = pool_alloc(pool, (size_t)m->storage_count * sizeof *row);
    for (int i = 0; i < m->storage_count; i++)
        row[i] = storage_row(m->storage[i], pool);
    Widths w = measure(row, m->storage_count, STORAGE_COLUMNS);
    for (int i = 0; i < m->storage_count; i++)
        print_row(&row[i], &w, true, out);
    pool_free(pool);
}

void module_print(const Module *m, Text *out)
{
    print_header(m, out);
    if (m->storage_count > 0)
        text_append(out, "\n");
    print_storage(m, out);
    for (int i = 0; i < m->graph_count; i++) {
        text_append(out, "\n");
        graph_print(m->graph[i], out);
    }
}

/* ---- dot ---- */

/* `state`: by index of storage: the number of the node that reads it. */
static void print_dot_node(int index, const Node *n, const Row *row, const int *state, Text *out)
{
    text_append(out, "    n%d_%d [label=\"%s\\n%s\"%s];\n", index, n->id,
                n->op == OP_INPUT || n->op == OP_UPDATE ? row->name : op_name(n->op), row->type,
                n->op == OP_UPDATE  ? " shape=box3d"
                : n->op == OP_INPUT ? " shape=oval"
                                    : "");
    for (int i = 0; i < n->arity; i++) {
        if (n->in[i]->id >= 0)
            text_append(out, "    n%d_%d -> n%d_%d;\n", index, n->in[i]->id, index, n->id);
        else
            text_append(out, "    s%d_%d -> n%d_%d;\n", index, state[n->in[i]->storage->index],
                        index, n->id);
    }
}

static void print_dot_graph(const Graph *g, int index, Text *out)
{
    GraphText t = graph_text(g);
    text_append(out, "  subgraph cluster_%d {\n    label=\"%s.%s %s\";\n", index, g->module->name,
                g->name, target_names[g->target]);
    int *state = pool_alloc(t.pool, (size_t)g->module->storage_count * sizeof *state);
    for (int i = 0; i < g->state_count; i++) {
        text_append(out, "    s%d_%d [label=\"@%s\" shape=cylinder];\n", index, i,
                    g->state[i]->storage->name);
        state[g->state[i]->storage->index] = i;
    }
    for (int i = 0; i < g->node_count; i++)
        print_dot_node(index, g->node[i], &t.row[i], state, out);
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        text_append(out, "    subgraph cluster_%d_%d { label=\"%s\"; style=dashed;", index, i,
                    k->name);
        for (int j = 0; j < k->node_count; j++)
            text_append(out, " n%d_%d;", index, k->node[j]->id);
        text_append(out, " }\n");
    }
    text_append(out, "  }\n");
    pool_free(t.pool);
}

void module_print_dot(const Module *m, Text *out)
{
    text_append(out, "digraph \"%s\" {\n  node [shape=box fontname=\"monospace\"];\n", m->name);
    for (int i = 0; i < m->graph_count; i++)
        print_dot_graph(m->graph[i], i, out);
    text_append(out, "}\n");
}
