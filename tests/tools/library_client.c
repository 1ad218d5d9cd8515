/* A program that uses an emitted library, for tests/suites/test_library.sh. Compiled with
 * -DNAME=model and -include model.h, as C.
 *
 *   client logits    WEIGHTS DEVICE THREADS COUNT...   logits of that many images a call, %a, an
 * image a line client elsewhere WEIGHTS DEVICE THREADS   a network used and freed by other threads
 *   client threads   WEIGHTS                  several threads on one network and on several
 *   client fork      WEIGHTS                  children of a program that uses it
 *   client refuse    WEIGHTS DEVICE THREADS   prints why the network is not created
 *   client misuse    WEIGHTS                  wrong arguments */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define CALL(function) JOIN(NAME, function)
#define CONSTANT(name) JOIN(CONSTANTS, name)

typedef CALL(network) Network;

enum {
    PIXELS = CONSTANT(HEIGHT) * CONSTANT(WIDTH) * CONSTANT(CHANNELS),
    CLASSES = CONSTANT(CLASSES),
    TEAM = 3,
    ROUNDS = 8,
    MOST = 3 * CONSTANT(BATCH) + 1 /* images */
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "client: %s: %s\n", what, why);
    exit(1);
}

static void expect(int holds, const char *what)
{
    if (!holds)
        fail(what, "does not hold");
}

static Network *create(const char *weights, const char *device, int threads)
{
    char error[512];
    Network *n = CALL(create)(weights, device, threads, error, sizeof error);
    if (!n)
        fail("create", error);
    return n;
}

static void forward(Network *n, const unsigned char *images, int count, float *logits)
{
    if (CALL(forward)(n, images, count, logits) != 0)
        fail("forward", CALL(error)(n));
}

/* Every image another one. */
static unsigned char *make_images(int count)
{
    unsigned char *images = malloc((size_t)count * PIXELS);
    expect(images != NULL, "memory");
    for (int i = 0; i < count * PIXELS; i++)
        images[i] = (unsigned char)(i * 31 % 251 + i / PIXELS * 3);
    return images;
}

static int print_logits(Network *n, int argc, char **argv)
{
    int count = 0;
    for (int i = 0; i < argc; i++)
        count += atoi(argv[i]);
    unsigned char *images = make_images(count);
    float *logits = malloc((size_t)count * CLASSES * sizeof *logits);
    for (int i = 0, at = 0; i < argc; at += atoi(argv[i++]))
        forward(n, images + at * PIXELS, atoi(argv[i]), logits + at * CLASSES);
    for (int i = 0; i < count * CLASSES; i++)
        printf("%a%c", (double)logits[i], i % CLASSES == CLASSES - 1 ? '\n' : ' ');
    free(images);
    free(logits);
    return 0;
}

/* ---- threads ---- */

typedef struct Member {
    Network *network;
    const unsigned char *images;
    const float *wanted;
    int number, wrong;
} Member;

static void *classify(void *at)
{
    Member *m = at;
    float logits[MOST * CLASSES];
    for (int round = 0; round < ROUNDS; round++) {
        int first = (round + m->number) % 3, count = MOST - first - round % 2;
        size_t bytes = (size_t)count * CLASSES * sizeof *logits;
        if (CALL(forward)(m->network, m->images + first * PIXELS, count, logits) != 0 ||
            memcmp(logits, m->wanted + first * CLASSES, bytes) != 0)
            m->wrong++;
        if (CALL(forward)(m->network, NULL, 1, logits) == 0 || !*CALL(error)(m->network))
            m->wrong++;
    }
    return NULL;
}

static void *classify_two(void *network)
{
    unsigned char *images = make_images(2);
    float logits[2 * CLASSES];
    forward(network, images, 1, logits);
    forward(network, images, 2, logits);
    free(images);
    return NULL;
}

static void *release(void *network)
{
    CALL(free)(network);
    return NULL;
}

static int use_elsewhere(Network *n)
{
    static void *(*const work[])(void *) = {classify_two, release};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        expect(pthread_create(&thread, NULL, work[i], n) == 0, "a thread");
        pthread_join(thread, NULL);
    }
    return 0;
}

/* Member i works on network[i]. */
static void run_team(Network *const *network, const unsigned char *images, const float *wanted)
{
    pthread_t thread[TEAM];
    Member team[TEAM];
    for (int i = 0; i < TEAM; i++) {
        team[i] = (Member){network[i], images, wanted, i, 0};
        expect(pthread_create(&thread[i], NULL, classify, &team[i]) == 0, "a thread");
    }
    for (int i = 0; i < TEAM; i++) {
        pthread_join(thread[i], NULL);
        expect(team[i].wrong == 0, "a thread gets the logits that one alone gets");
    }
}

static int use_threads(const char *weights)
{
    unsigned char *images = make_images(MOST);
    float wanted[MOST * CLASSES];
    Network *one = create(weights, "cpu", 2), *several[TEAM];
    Network *same[TEAM] = {one, one, one};
    forward(one, images, MOST, wanted);
    run_team(same, images, wanted);
    for (int i = 0; i < TEAM; i++)
        several[i] = create(weights, "cpu", 1 + i % 2);
    run_team(several, images, wanted);
    for (int i = 0; i < TEAM; i++)
        CALL(free)(several[i]);
    CALL(free)(one);
    free(images);
    return 0;
}

/* ---- children ---- */

enum { CHILDREN = 4, HUNG = 120 }; /* seconds, however busy the machine is */

/* A thread that uses a network from before the first child until behind the last one. Only there: a
 * thread that starts or ends holds locks of a sanitizer, which a child of that moment waits for
 * forever. */
typedef struct Busy {
    Member member;
    sem_t begun;
    atomic_bool enough;
} Busy;

static void *stay_busy(void *at)
{
    Busy *b = at;
    sem_post(&b->begun);
    while (!b->enough)
        classify(&b->member);
    return NULL;
}

/* The parent's network is refused, one of its own gives the parent's logits, with all threads. */
static void be_child(Network *parents, const char *weights, const unsigned char *images,
                     const float *wanted)
{
    float logits[MOST * CLASSES];
    alarm(HUNG);
    expect(CALL(forward)(parents, images, 1, logits) == -1, "a parent's network is refused");
    expect(strstr(CALL(error)(parents), "fork") != NULL, "and why");
    CALL(free)(parents);
    Network *own = create(weights, "cpu", 2);
    for (int i = 0; i < 3; i++)
        forward(own, images, MOST, logits);
    expect(memcmp(logits, wanted, sizeof logits) == 0, "a child's logits are the parent's");
    CALL(free)(own);
}

/* While other threads of the parent are using the network. */
static int use_children(const char *weights)
{
    unsigned char *images = make_images(MOST);
    float wanted[MOST * CLASSES];
    Network *one = create(weights, "cpu", 2);
    pthread_t thread;
    forward(one, images, MOST, wanted);
    Busy busy = {.member = {one, images, wanted, 0, 0}};
    expect(sem_init(&busy.begun, 0, 0) == 0, "a semaphore");
    expect(pthread_create(&thread, NULL, stay_busy, &busy) == 0, "a thread");
    while (sem_wait(&busy.begun) != 0)
        continue;
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            be_child(one, weights, images, wanted);
            _exit(0);
        }
        expect(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child");
    }
    busy.enough = true;
    pthread_join(thread, NULL);
    sem_destroy(&busy.begun);
    expect(busy.member.wrong == 0, "the parent's logits");
    CALL(free)(one);
    free(images);
    return 0;
}

/* ---- faults ---- */

static int print_refusal(const char *weights, const char *device, int threads)
{
    char error[512], shorter[16];
    Network *n = CALL(create)(weights, device, threads, error, sizeof error);
    expect(n == NULL, "it is refused");
    expect(*error && !strchr(error, '\n'), "the reason is one line");
    expect(!CALL(create)(weights, device, threads, shorter, sizeof shorter), "again");
    expect(strlen(shorter) == sizeof shorter - 1, "the reason is cut to its size");
    expect(!CALL(create)(weights, device, threads, NULL, 0), "without a place for the reason");
    printf("%s\n", error);
    return 0;
}

static int misuse(const char *weights)
{
    unsigned char *images = make_images(1);
    float logits[CLASSES];
    Network *n = create(weights, NULL, 0);
    expect(strcmp(CALL(error)(n), "") == 0, "no failure, no reason");
    expect(CALL(forward)(n, images, 0, logits) == -1, "no images");
    expect(strstr(CALL(error)(n), "at least 1") != NULL, "no images: why");
    expect(CALL(forward)(n, images, -1, logits) == -1, "fewer than none");
    expect(CALL(forward)(n, NULL, 1, logits) == -1, "images NULL");
    expect(CALL(forward)(n, images, 1, NULL) == -1, "logits NULL");
    expect(strstr(CALL(error)(n), "logits") != NULL, "logits NULL: why");
    forward(n, images, 1, logits);
    expect(CALL(forward)(NULL, images, 1, logits) == -1, "network NULL");
    expect(*CALL(error)(NULL) != '\0', "network NULL: why");
    CALL(free)(n);
    CALL(free)(NULL);
    free(images);
    return 0;
}

int main(int argc, char **argv)
{
    const char *command = argc > 2 ? argv[1] : "", *weights = argc > 2 ? argv[2] : NULL;
    if (strcmp(command, "logits") == 0 && argc > 5) {
        Network *n = create(weights, argv[3], atoi(argv[4]));
        int status = print_logits(n, argc - 5, argv + 5);
        CALL(free)(n);
        return status;
    }
    if (strcmp(command, "elsewhere") == 0 && argc == 5)
        return use_elsewhere(create(weights, argv[3], atoi(argv[4])));
    if (strcmp(command, "threads") == 0)
        return use_threads(weights);
    if (strcmp(command, "fork") == 0)
        return use_children(weights);
    if (strcmp(command, "refuse") == 0 && argc == 5)
        return print_refusal(weights, argv[3], atoi(argv[4]));
    if (strcmp(command, "misuse") == 0)
        return misuse(weights);
    fail(command, "no such command");
}
