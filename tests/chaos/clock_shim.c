/* clock_shim: steps one process's wall clock while it runs (LD_PRELOAD).
 *
 * The offset in microseconds is the eight bytes of the file named by CHAOS_CLOCK, mapped shared, so
 * whoever writes the file sets the clock. The monotonic clock is left alone, as a real step leaves
 * it. Waits until a time on the wall clock are given to the kernel with the offset taken off again;
 * else a clock that is an hour ahead would make them wait an hour. libfaketime does much the same,
 * and also fakes file times and pays a file look-up per call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WALL_TIME_FROM_S 1000000000 /* more than this since boot is no uptime but a date */
#define NANOSECONDS 1000000000

static volatile int64_t none;
static volatile int64_t *offset_us = &none;

__attribute__((constructor)) static void map_offset(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) {
        offset_us = map;
    }
    close(fd);
}

static void shift(struct timespec *when, int64_t by_us) {
    int64_t ns = when->tv_nsec + by_us % 1000000 * 1000;
    when->tv_sec += by_us / 1000000 + (ns < 0 ? -1 : ns >= NANOSECONDS);
    when->tv_nsec = (ns + NANOSECONDS) % NANOSECONDS;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) {
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        shift(now, *offset_us);
    }
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    (void)zone;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (real == NULL) {
        real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlsym(
            RTLD_NEXT, "pthread_cond_timedwait");
    }
    struct timespec when = *until;
    if (when.tv_sec > WALL_TIME_FROM_S) {
        shift(&when, -*offset_us);
    }
    return real(condition, mutex, &when);
}
