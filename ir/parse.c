/* Reads the IR text that ir/print.c writes. The text is a stranger's: nothing in it is trusted,
 * and the first fault ends the parse with its position. */
#include "parse.h"

#include <string.h>

/* ---- the header ---- */

static bool parse_data(Parser *p)
{
    Module *m = p->module;
    if (!lex_expect(p->lex, "dataset"))
        return false;
    m->dataset = lex_word(p->lex, "-");
    return (*m->dataset || lex_fail(p->lex, "expected the name of a data set")) &&
           lex_int_field(p->lex, "image=", 1, &m->image_h) &&
           lex_int_field(p->lex, "x", 1, &m->image_w) &&
           lex_int_field(p->lex, "x", 1, &m->image_c) &&
           lex_int_field(p->lex, "classes=", 1, &m->classes) &&
           parse_data_settings(p, &m->data) && lex_expect_line_end(p->lex);
}

/* NAME=VALUE, or NAME of a flag; the verifier sees whether a count is one. */
static bool parse_setting(Parser *p, const Setting *s, void *of)
{
    char key[32];
    double *out = setting_value(of, s);
    snprintf(key, sizeof key, "%s=", s->name);
    switch (s->range) {
    case RANGE_RATE: return lex_rate_field(p->lex, key, out);
    case RANGE_FRACTION: return lex_fraction_field(p->lex, key, out);
    case RANGE_POSITIVE: return lex_positive_field(p->lex, key, out);
    case RANGE_FLAG: *out = lex_accept(p->lex, s->name); return true;
    case RANGE_NUMBER:
    case RANGE_PART:
    case RANGE_SHARE:
    case RANGE_WHOLE:
    case RANGE_COUNT:
    case RANGE_COUNT_OR_ALL: break;
    }
    return lex_number_field(p->lex, key, out);
}

static bool parse_settings(Parser *p, SettingsOf *settings, int kind, void *of)
{
    const Setting *s;
    for (int i = 0; (s = settings(kind, i)) != NULL; i++)
        if (!parse_setting(p, s, of))
            return false;
    return lex_expect_line_end(p->lex);
}

static bool parse_optimizer(Parser *p)
{
    Optimizer *o = &p->module->optimizer;
    int kind;
    *o = (Optimizer){0};
    if (!lex_expect(p->lex, "optimizer") ||
        !CHOOSE(p->lex, "an optimizer", optimizer_names, &kind))
        return false;
    o->kind = (OptimizerKind)kind;
    return parse_settings(p, optimizer_setting, kind, o);
}

/* milestones=[30,80] */
static bool parse_milestones(Parser *p, RateSchedule *r)
{
    if (!lex_expect(p->lex, "milestones=["))
        return false;
    do {
        int64_t milestone;
        if (r->milestones == MAX_MILESTONES)
            return lex_fail(p->lex, "a schedule has at most %d milestones", MAX_MILESTONES);
        if (!lex_integer(p->lex, 1, LARGEST_COUNT, &milestone))
            return false;
        r->milestone[r->milestones++] = (int)milestone;
    } while (lex_accept(p->lex, ","));
    return lex_expect(p->lex, "]");
}

static bool parse_schedule(Parser *p)
{
    RateSchedule *r = &p->module->train.schedule;
    int kind;
    if (!CHOOSE(p->lex, "a schedule", rate_names, &kind))
        return false;
    r->kind = (RateKind)kind;
    return (r->kind != RATE_MULTI_STEP || parse_milestones(p, r)) &&
           parse_settings(p, schedule_setting, kind, r);
}

static bool parse_train(Parser *p)
{
    TrainSettings *t = &p->module->train;
    int init;
    if (!lex_expect(p->lex, "train"))
        return false;
#define X(setting, least, ...)                                                                     \
    if (!lex_int_field(p->lex, #setting "=", least, &t->setting))                                  \
        return false;
    IR_TRAIN_SETTINGS(X)
#undef X
    if (!lex_expect(p->lex, "init=") || !CHOOSE(p->lex, "an initialisation", init_names, &init))
        return false;
    t->init = (InitKind)init;
    if (t->init == INIT_NORMAL && !lex_number_field(p->lex, "std=", &t->init_std))
        return false;
    if (lex_accept(p->lex, "clip_grad_norm=") &&
        !lex_positive_field(p->lex, "", &t->clip_grad_norm))
        return false;
    if (lex_accept(p->lex, "ema=") && !lex_positive_field(p->lex, "", &t->ema))
        return false;
    if (lex_accept(p->lex, "early_stop=") && !lex_int_field(p->lex, "", 1, &t->early_stop))
        return false;
    if (lex_accept(p->lex, "sampler=")) {
        int sampler;
        if (!CHOOSE(p->lex, "a sampler", sampler_names, &sampler))
            return false;
        t->sampler = (Sampler)sampler;
    }
    return lex_expect_line_end(p->lex);
}

/* balanced, or [1,0.5,2], one a class */
static bool parse_class_weights(Parser *p)
{
    ClassWeights *c = &p->module->class_weights;
    double *weight = NULL, number;
    int count = 0, capacity = 0;
    c->how = lex_accept(p->lex, "balanced") ? WEIGH_BALANCED : WEIGH_LIST;
    if (c->how == WEIGH_BALANCED)
        return true;
    if (!lex_expect(p->lex, "["))
        return false;
    do {
        if (!lex_number(p->lex, &number))
            return false;
        POOL_PUSH(p->pool, weight, count, capacity, number);
    } while (lex_accept(p->lex, ","));
    c->weight = weight;
    if (count != p->module->classes)
        return lex_fail(p->lex, "there are %d weights for %d classes", count, p->module->classes);
    return lex_expect(p->lex, "]");
}

/* `cpu=24158784 cuda=24162816`, one for each target that has a plan. */
static bool parse_state_bytes(Parser *p)
{
    for (int t = 0; t < TARGET_COUNT; t++) {
        char key[16];
        snprintf(key, sizeof key, "%s=", target_names[t]);
        if (!lex_optional_bytes(p->lex, key, &p->module->state_bytes[t]))
            return false;
    }
    return true;
}

static bool parse_header(Parser *p)
{
    lex_skip_space(p->lex);
    if (!lex_expect(p->lex, "module "))
        return false;
    p->module = module_new(p->pool, lex_expect_name(p->lex, "the model's name"));
    if (!lex_expect(p->lex, "{"))
        return false;
    lex_skip_space(p->lex);
    if (!parse_data(p))
        return false;
    lex_skip_space(p->lex);
    if (!parse_optimizer(p))
        return false;
    lex_skip_space(p->lex);
    if (!parse_train(p))
        return false;
    lex_skip_space(p->lex);
    if (lex_accept(p->lex, "schedule ") && !parse_schedule(p))
        return false;
    lex_skip_space(p->lex);
    if (lex_accept(p->lex, CLASS_WEIGHTS_NAME " ") && !parse_class_weights(p))
        return false;
    lex_skip_space(p->lex);
    if (lex_accept(p->lex, "state ") && !parse_state_bytes(p))
        return false;
    lex_skip_space(p->lex);
    return lex_expect(p->lex, "}") && lex_expect_line_end(p->lex);
}

/* ---- storage ---- */

/* What there is of lr_mult=2 weight_decay_mult=0 frozen init=normal std=0.05 */
static bool parse_training(Parser *p, Training *t)
{
    int init;
    if ((lex_accept(p->lex, "lr_mult=") && !lex_rate_field(p->lex, "", &t->lr_mult)) ||
        (lex_accept(p->lex, "weight_decay_mult=") &&
         !lex_rate_field(p->lex, "", &t->weight_decay_mult)))
        return false;
    t->frozen = lex_accept(p->lex, "frozen");
    if (!lex_accept(p->lex, "init="))
        return true;
    if (!CHOOSE(p->lex, "an initialisation", init_names, &init))
        return false;
    t->has_init = true;
    t->init = (InitKind)init;
    return t->init != INIT_NORMAL || lex_number_field(p->lex, "std=", &t->init_std);
}

static bool parse_storage_attr(Parser *p, Storage *s)
{
    if (!lex_accept(p->lex, "{"))
        return true;
    if (lex_accept(p->lex, "of=@")) {
        s->of = lex_expect_name(p->lex, "a parameter's name");
        return lex_expect(p->lex, "}");
    }
    if (lex_accept(p->lex, "fan_in=") && (!lex_int_field(p->lex, "", 0, &s->fan_in) ||
                                          !lex_int_field(p->lex, "fan_out=", 0, &s->fan_out)))
        return false;
    return parse_training(p, &s->training) && lex_expect(p->lex, "}");
}

/* For each target, in order: ` cpu {layout} at OFFSET`. */
static bool parse_homes(Parser *p, Storage *s)
{
    for (int t = 0; t < TARGET_COUNT; t++) {
        Home *home = &s->home[t];
        if (!lex_accept(p->lex, target_names[t]))
            continue;
        if (!parse_layout(p, &home->layout) ||
            (lex_accept(p->lex, "at ") && !lex_integer(p->lex, 0, INT64_MAX / 4, &home->offset)))
            return false;
    }
    return true;
}

/* @name : type = role {attributes} TARGET {layout} at offset loc ... */
static bool parse_storage(Parser *p)
{
    Tensor type;
    Loc loc = lex_here(p->lex);
    int role;
    if (!lex_expect(p->lex, "@"))
        return false;
    char *name = lex_expect_name(p->lex, "a name after '@'");
    if (p->lex->failed || !lex_expect(p->lex, ":") || !parse_type(p, &type) ||
        !lex_expect(p->lex, "=") || !CHOOSE(p->lex, "a role of storage", role_names, &role))
        return false;
    if (module_find_storage(p->module, name))
        return lex_fail_at(p->lex, loc, (int)strlen(name) + 1, "@%s is declared twice", name);
    Storage *s = module_add_storage(p->module, name, type.shape, (Role)role, loc);
    s->tensor = type;
    return parse_storage_attr(p, s) && parse_homes(p, s) && parse_loc(p, &s->loc) &&
           lex_expect_line_end(p->lex);
}

/* ---- graphs ---- */

static bool parse_graph_name(Parser *p, const char **out)
{
    lex_skip_blank(p->lex);
    Loc loc = lex_here(p->lex);
    char *name = lex_expect_name(p->lex, "MODEL.GRAPH");
    size_t length = strlen(p->module->name);
    if (p->lex->failed)
        return false;
    *out = name + length + 1;
    if (strncmp(name, p->module->name, length) == 0 && name[length] == '.' && !strchr(*out, '.'))
        return true;
    return lex_fail_at(p->lex, loc, (int)strlen(name), "expected %s.train or %s.eval",
                       p->module->name, p->module->name);
}

static bool parse_graph_header(Parser *p)
{
    const char *name;
    int batch, stage, target;
    if (!parse_graph_name(p, &name) || !lex_int_field(p->lex, "batch=", 1, &batch) ||
        !lex_expect(p->lex, "stage=") || !CHOOSE(p->lex, "a stage", stage_names, &stage) ||
        !lex_expect(p->lex, "target=") || !CHOOSE(p->lex, "a target", target_names, &target))
        return false;
    if (module_find_graph(p->module, name, (Target)target))
        return lex_fail(p->lex, "there is a graph %s for target %s already", name,
                        target_names[target]);
    Graph *g = p->graph = module_add_graph(p->module, name, batch);
    g->stage = (Stage)stage;
    g->target = (Target)target;
    p->value = (NameTable){0};
    return lex_optional_int(p->lex, "chunk=", &g->chunk) &&
           lex_optional_bytes(p->lex, "shared=", &g->shared_bytes) &&
           lex_optional_bytes(p->lex, "chunk_bytes=", &g->chunk_bytes) &&
           lex_optional_bytes(p->lex, "thread=", &g->thread_bytes) &&
           lex_optional_bytes(p->lex, "shared_bound=", &g->shared_bound) &&
           lex_optional_bytes(p->lex, "chunk_bound=", &g->chunk_bound) &&
           lex_optional_bytes(p->lex, "thread_bound=", &g->thread_bound) &&
           lex_expect(p->lex, "{");
}

static bool parse_return(Parser *p)
{
    do {
        Node *n;
        char *name = lex_word(p->lex, "");
        if (!*name)
            return lex_fail(p->lex, "expected an output's name");
        if (graph_find_output(p->graph, name))
            return lex_fail(p->lex, "output %s is returned twice", name);
        if (p->graph->output_count == MAX_OUTPUTS)
            return lex_fail(p->lex, "more than %d outputs", MAX_OUTPUTS);
        if (!lex_expect(p->lex, "=") || !parse_value(p, &n))
            return false;
        graph_output(p->graph, name, n);
    } while (lex_accept(p->lex, ","));
    return lex_expect_line_end(p->lex);
}

static bool parse_graph(Parser *p)
{
    if (!parse_graph_header(p))
        return false;
    lex_skip_space(p->lex);
    while (!p->lex->failed && (lex_peek(p->lex) == '%' || lex_peek(p->lex) == '@')) {
        parse_node(p, NULL);
        lex_skip_space(p->lex);
    }
    while (lex_accept(p->lex, "kernel ")) {
        if (!parse_kernel(p))
            return false;
        lex_skip_space(p->lex);
    }
    if (!p->lex->failed && lex_accept(p->lex, "return ") && !parse_return(p))
        return false;
    graph_number(p->graph);
    lex_skip_space(p->lex);
    return !p->lex->failed &&
           (lex_accept(p->lex, "}") || lex_fail(p->lex, "expected %s, return or '}'",
                                                p->graph->kernel_count ? "a kernel" : "a node")) &&
           lex_expect_line_end(p->lex);
}

static bool parse_module(Parser *p)
{
    if (!parse_header(p))
        return false;
    for (lex_skip_space(p->lex); lex_peek(p->lex) == '@'; lex_skip_space(p->lex))
        if (!parse_storage(p))
            return false;
    for (; lex_accept(p->lex, "graph "); lex_skip_space(p->lex))
        if (!parse_graph(p))
            return false;
    return lex_peek(p->lex) == '\0' || lex_fail(p->lex, "expected 'graph'");
}

/* While the verifier runs, positions are those in this text; afterwards the source's. */
static bool verify_parsed(Parser *p)
{
    Diagnostics *d = p->lex->d;
    int before = d->count;
    bool good = module_verify(p->module, d);
    for (int i = before; i < d->count; i++)
        if (!d->list[i].loc.file)
            d->list[i].loc = (Loc){p->lex->file, 1, 1};
    for (int i = 0; i < p->origin_count; i++)
        p->origin[i].node->loc = p->origin[i].source;
    return good;
}

Module *module_parse(Pool *pool, Diagnostics *d, const char *file, const char *text, size_t length)
{
    Lexer lex = {.pool = pool, .d = d, .file = pool_strdup(pool, file), .line = 1};
    Parser p = {.pool = pool, .lex = &lex};
    lex.at = lex.line_start = text;
    lex.end = text + length;
    if (!parse_module(&p) || !verify_parsed(&p))
        return NULL;
    return p.module;
}
