/* The values of the IR as they lie on a device: for those who look into a program, `verify` and the
 * gradients' histograms. Values are doubles in logical order (maps NHWC, filters OIHW). */
#ifndef NINC_VALUES_H
#define NINC_VALUES_H

#include "../ir/ir.h"
#include "runtime.h"
#include "tensorboard.h"

/* ---- values.c ---- */

/* A graph of the plan's IR, the program that it became, and where that runs. */
typedef struct Values {
    const Graph *graph;
    const NincProgram *program;
    const DeviceTable *table;
    Device *device;
    int images; /* rows of every per-image value */
} Values;

/* Parameters, moments and their updates: they lie in the state region. */
bool is_stored(const Node *n);
/* The launch of a kernel in a program. */
const NincLaunch *find_launch(const NincProgram *p, const Kernel *k);
/* The nearest bf16 number (ties to even); x is not NaN. */
float bf16_rounded(float x);
/* Copies of a value that its readers add up: parts of a sum over images; else 1. */
int values_copies(const Values *v, const Node *n);
/* Writes copy `copy` of the value, with zeros in halo and padding. */
int values_write(const Values *v, const Node *n, int copy, const double *value);
/* The value, its copies added up in order; returns how many halo and padding elements are not
 * zero, or -1. */
int64_t values_read(const Values *v, const Node *n, double *value);
/* The same for storage, which the graph need not read. */
int values_write_storage(const Values *v, const Storage *s, const double *value);
int64_t values_read_storage(const Values *v, const Storage *s, double *value);

/* ---- gradients.c ---- */

/* The parameter's gradient in the graph of a training step, where it still lies in memory after the
 * step (values_read): without weight decay, a mean over the valid images. NULL where the loss does
 * not depend on the parameter, or the gradient has no place of its own. */
const Node *gradient_of(const Graph *g, const Storage *s);

/* ---- watch.c ---- */

/* What a run shows of its parameters and gradients. */
typedef struct Watch Watch;

/* For the device's training program. */
Watch *watch_open(const NincModel *model, const DeviceTable *table, Device *device);
/* w may be NULL. */
void watch_close(Watch *w);
/* Right after a training step: histograms of each parameter and each gradient. */
int watch_histograms(const Watch *w, Tensorboard *board, int64_t step);
/* Right after a training step: the first tensor with a number that is not finite, first of the
 * parameters, then of the gradients, both in forward order, into `text`; says so where there is
 * none. */
int watch_find_bad(const Watch *w, char *text, size_t size);

#endif
