/* Compiles the CUDA kernels of an IR file with NVRTC and checks what they use (tests/nvrtc.sh).
 *
 *   nvrtc_tool newest                 the newest architecture that NVRTC knows
 *   nvrtc_tool check FILE.ir TARGET   prints the table; status 1 when a kernel spills, asks for
 *                                     more shared memory than a block may have, does not fit a
 *                                     processor, or NVRTC warns; 2 when one does not compile
 */
#include "../../codegen/codegen.h"
#include "../../runtime/device/gpu.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static Module *read_module(Pool *pool, const char *path)
{
    Diagnostics d;
    size_t size;
    char *text = (char *)read_bytes(path, &size);
    diagnostics_init(&d, pool);
    Module *m = text ? module_parse(pool, &d, path, text, size) : NULL;
    if (!text)
        fprintf(stderr, "nvrtc_tool: cannot read %s\n", path);
    else if (!m)
        fprintf(stderr, "%s:%d: %s\n", path, d.list[0].loc.line, d.list[0].message);
    free(text);
    return m;
}

static int complain(const CompiledKernel *k, const char *what)
{
    printf("kernel %s %s\n", k->name, what);
    return 1;
}

static int faults_of(const CompiledKernels *c, const CompiledKernel *k)
{
    int faults = 0;
    if (k->local_bytes > 0)
        faults += complain(k, "spills or has a stack");
    if (k->shared_bytes > c->most_shared_bytes)
        faults += complain(k, "has more shared memory than a block may have");
    if (k->blocks < 1)
        faults += complain(k, "does not fit a processor");
    if (k->log)
        faults += complain(k, k->log);
    return faults;
}

static int check(const char *path, const char *target)
{
    CompiledKernels c;
    Text table = {0};
    Pool *pool = pool_new();
    Module *m = read_module(pool, path);
    int faults = 0, status = 2;
    if (m)
        name_kernels(m);
    if (m && compile_cuda(pool, m, target, &c)) {
        print_usage(&c, &table);
        fputs(table.data, stdout);
        for (int i = 0; i < c.count; i++)
            faults += faults_of(&c, &c.kernel[i]);
        status = faults > 0;
    }
    text_free(&table);
    pool_free(pool);
    return status;
}

static int newest(void)
{
    Nvrtc *n = nvrtc_open(0);
    if (!n)
        return 2;
    printf("sm_%d\n", nvrtc_newest(n, INT_MAX));
    nvrtc_close(n);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "newest") == 0)
        return newest();
    if (argc == 4 && strcmp(argv[1], "check") == 0)
        return check(argv[2], argv[3]);
    fprintf(stderr, "nvrtc_tool: bad arguments\n");
    return 2;
}
