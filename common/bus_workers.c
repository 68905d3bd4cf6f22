/* bus_workers: one thread for nng's callbacks.
 *
 * nng starts two workers for each core and hands every step of a message (header read, body read,
 * sent, delivered to the protocol) to one of them, and wakes another one for it whenever one
 * sleeps: a dozen wake-ups for a message, each as dear as the message itself. None of the callbacks
 * does more than move a pointer, TLS apart, so one worker is enough. nng 1.5 has no setting for
 * that; what it has are callbacks that may take their time, so all workers but one get one that
 * never ends. */
#include "common/bus_private.h"

#include <dirent.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORKER_NAME "nng:task"
#define WORKERS_PER_CORE 2
#define WORKERS_MAX 16
#define AWAIT_TRIES 100

static void park(void *unused) {
    (void)unused;
    static sem_t never; /* zeroed: nobody ever posts it */
    for (;;) {
        (void)sem_wait(&never);
    }
}

static bool is_worker(const char *thread) {
    char path[64];
    char name[32] = "";
    (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", thread);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool found = fgets(name, sizeof name, file) != NULL &&
                 strncmp(name, WORKER_NAME, sizeof WORKER_NAME - 1) == 0;
    (void)fclose(file); /* only read from */
    return found;
}

static unsigned count_workers(void) {
    unsigned count = 0;
    DIR *threads = opendir("/proc/self/task");
    if (threads == NULL) {
        return 0;
    }
    const struct dirent *entry = NULL;
    while ((entry = readdir(threads)) != NULL) {
        count += entry->d_name[0] != '.' && is_worker(entry->d_name);
    }
    (void)closedir(threads);
    return count;
}

/* Threads get their names when they first run. As many as nng 1.5 starts, or what there is after a
 * while; 0 without /proc: then all of them work. */
static unsigned await_workers(void) {
    static const struct timespec pause = {.tv_nsec = 1000000};
    long usual = WORKERS_PER_CORE * sysconf(_SC_NPROCESSORS_ONLN);
    unsigned wanted = (unsigned)(usual < WORKERS_MAX ? usual : WORKERS_MAX);
    unsigned count = count_workers();
    for (int tries = 0; count < wanted && tries < AWAIT_TRIES; tries++) {
        (void)nanosleep(&pause, NULL);
        count = count_workers();
    }
    return count;
}

void bus_workers_limit(void) {
    unsigned count = await_workers();
    for (unsigned i = 1; i < count; i++) {
        nng_aio *aio = NULL; /* never freed: its callback never ends */
        if (nng_aio_alloc(&aio, park, NULL) != 0) {
            return;
        }
        nng_sleep_aio(0, aio);
    }
}
