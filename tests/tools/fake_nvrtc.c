/* An NVRTC for tests: its code says what it was compiled from; opening it and every compilation
 * write a line to $FAKE_LOG. $FAKE_NVRTC sets its version, the newest architecture that it knows,
 * and with `slow` it takes its time:
 *
 *     version=13000 newest=90 slow
 *
 * A text that holds `does_not_compile` does not compile. */
#include "fake_library.h"

#include <unistd.h>

typedef int Result;
typedef struct Program {
    char *text, *log, *code;
} Program;

__attribute__((constructor)) static void opened(void)
{
    say("nvrtc opened");
}

const char *nvrtcGetErrorString(Result r)
{
    return r == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR";
}

Result nvrtcVersion(int *major, int *minor)
{
    int version = (int)setting("FAKE_NVRTC", "version=", 13000);
    *major = version / 1000;
    *minor = version % 1000 / 10;
    return 0;
}

static const int known[] = {75, 80, 86, 89, 90, 100, 120};

Result nvrtcGetNumSupportedArchs(int *count)
{
    for (*count = 0; *count < 7 && known[*count] <= setting("FAKE_NVRTC", "newest=", 120);)
        ++*count;
    return 0;
}

Result nvrtcGetSupportedArchs(int *architecture)
{
    int count;
    nvrtcGetNumSupportedArchs(&count);
    memcpy(architecture, known, (size_t)count * sizeof *known);
    return 0;
}

Result nvrtcCreateProgram(Program **program, const char *text, const char *name, int headers,
                          const char *const *header, const char *const *include)
{
    (void)name, (void)header, (void)include;
    *program = calloc(1, sizeof **program);
    (*program)->text = strdup(text);
    return headers;
}

Result nvrtcDestroyProgram(Program **program)
{
    free((*program)->text);
    free((*program)->log);
    free((*program)->code);
    free(*program);
    *program = NULL;
    return 0;
}

static Result fail(Program *p, const char *at)
{
    char log[256];
    int line = 1;
    for (const char *c = p->text; c < at; c++)
        line += *c == '\n';
    snprintf(log, sizeof log,
             "kernels.cu(1): warning: as asked for\n\nkernels.cu(%d): error: as asked for\n", line);
    p->log = strdup(log);
    return 6;
}

Result nvrtcCompileProgram(Program *p, int options, const char *const *option)
{
    char line[1024] = "nvrtc compile";
    for (int i = 0; i < options; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), " %s", option[i]);
    say(line);
    const char *all = getenv("FAKE_NVRTC"), *fault = strstr(p->text, "does_not_compile");
    if (all && strstr(all, "slow"))
        usleep(200000);
    if (fault)
        return fail(p, fault);
    p->code = malloc(sizeof line + 64);
    snprintf(p->code, sizeof line + 64, "%s\n", line + strlen("nvrtc "));
    return 0;
}

Result nvrtcGetProgramLogSize(Program *p, size_t *size)
{
    *size = p->log ? strlen(p->log) + 1 : 1;
    return 0;
}

Result nvrtcGetProgramLog(Program *p, char *log)
{
    strcpy(log, p->log ? p->log : "");
    return 0;
}

static Result size_of(Program *p, const char *kind, size_t *size)
{
    *size = strlen(kind) + strlen(p->code) + 1;
    return 0;
}

Result nvrtcGetCUBINSize(Program *p, size_t *size)
{
    return size_of(p, "cubin of ", size);
}

Result nvrtcGetCUBIN(Program *p, char *out)
{
    sprintf(out, "cubin of %s", p->code);
    return 0;
}

Result nvrtcGetPTXSize(Program *p, size_t *size)
{
    return size_of(p, "PTX of ", size);
}

Result nvrtcGetPTX(Program *p, char *out)
{
    sprintf(out, "PTX of %s", p->code);
    return 0;
}
