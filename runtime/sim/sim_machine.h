/* The map of the simulator's C side: sim_machine.c is the machine that gpu.h asks for
 * (gpu_sim_driver), sim_build.c compiles what it runs. What CUDA text is compiled against is C++:
 * sim.h, launch.h, core.h. Functions that return int give 0, or -1 after a message. */
#ifndef NINC_SIM_MACHINE_H
#define NINC_SIM_MACHINE_H

#include "../device/gpu.h"

#include <limits.h>

typedef struct SimCompiler {
    const char *command; /* "g++ -m64": as it was given */
    char **word;         /* of it; [0] may be an absolute path that was given relative */
    int words;
    char *program;       /* that path; or NULL */
    char version[256];   /* the first line of its --version */
} SimCompiler;

typedef struct SimProgram {
    const char *text;
    const char *const *option; /* -DNAME=VALUE */
    int option_count;
    const int *number; /* of the kernels: NINC_KERNEL */
    int numbers;
    bool checks; /* of plain accesses to memory */
} SimProgram;

typedef struct SimLibrary {
    char path[PATH_MAX + 256];
    char work[PATH_MAX]; /* directory of ours that it is in; empty: it is in the cache */
    int file;            /* 0, or what it is read through when that directory is gone */
} SimLibrary;

/* ---- sim_build.c: CUDA text to a library that simulates it ---- */

/* $CXX, c++ or g++: the first that runs; $CXX alone where it is set. */
int sim_compiler(SimCompiler *out);
void sim_compiler_free(SimCompiler *compiler);

/* Takes the library from the cache or compiles it. */
int sim_library(const SimCompiler *compiler, const SimProgram *program, SimLibrary *out);
/* Once it is loaded, or was not: removes the directory, so that nothing stays however the program
 * ends; `path` leads to the library all the same. */
void sim_library_loaded(SimLibrary *library);
void sim_library_close(SimLibrary *library);

#endif
