/* The intermediate representation: modules, storage, graphs, nodes, kernels.
 *
 * A module is what one model file means: a header, storage (`@name`) and graphs. A graph is SSA:
 * a node has one result, static shapes, and the source position that it came from. After `fuse`
 * the nodes are grouped into kernels; after `memory` every value has a place. Everything lives in
 * the module's pool and is freed with it. */
#ifndef NINC_IR_H
#define NINC_IR_H

#include "base.h"     /* memory, text, faults */
#include "eval.h"     /* the naive evaluator */
#include "fold.h"     /* resizes folded into convolutions */
#include "gradient.h" /* what autodiff and the ops have between them */
#include "graph.h"    /* storage, nodes, graphs, modules */
#include "kernel.h"   /* kernels and places */
#include "op.h"       /* ops and attributes */
#include "text.h"     /* the IR text */
#include "winograd.h" /* Winograd's transforms */

#endif
