/* export: the network with its parameters, in the form that other software reads. */
#include "../../ir/ir.h"
#include "tools.h"

/* The eval graphs of all targets mean the same. */
static int write_model(Pool *pool, const Weights *weights, const ExportOptions *options)
{
    ExportGraph what = {.graph = module_first_graph(plan_module(pool), "eval"),
                        .value = (const float *const *)weights->value,
                        .preprocessing = options->preprocessing};
    Onnx *onnx = export_graph(pool, &what);
    if (!onnx || onnx_write(onnx, options->onnx) < 0)
        return -1;
    notice("wrote %s", options->onnx);
    return 0;
}

int export_model(const NincModel *model, const ExportOptions *options)
{
    Pool *pool = pool_new();
    Weights *weights = outfile_check(options->onnx) == 0 ? weights_new(model) : NULL;
    int status = weights ? weights_read(options->weights, weights) : -1;
    if (status == 0)
        status = write_model(pool, weights, options);
    weights_free(weights);
    pool_free(pool);
    return status < 0 ? 1 : 0;
}
