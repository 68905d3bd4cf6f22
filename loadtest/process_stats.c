/* CPU comes from /proc/PID/schedstat's nanoseconds summed over threads, finer than stat's ticks;
 * memory is the proportional share (smaps_rollup), so pages shared by the four services are counted
 * once in all. */
#include "loadtest/process_stats.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t thread_cpu_ns(long pid, const char *thread) {
    char path[300];
    uint64_t ns = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/task/%s/schedstat", pid, thread);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        if (fscanf(file, "%" SCNu64, &ns) != 1) {
            ns = 0;
        }
        (void)fclose(file);
    }
    return ns;
}

static uint64_t field(long pid, const char *name, const char *key) {
    char path[64], line[256];
    uint64_t value = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            (void)sscanf(line + strlen(key), " %" SCNu64, &value);
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return value;
}

static void read_name(long pid, char *name, size_t bytes) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/comm", pid);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        if (fgets(name, (int)bytes, file) != NULL) {
            name[strcspn(name, "\n")] = '\0';
        }
        (void)fclose(file);
    }
}

struct process_stats process_stats_read(long pid) {
    struct process_stats stats = {0};
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *threads = opendir(path);
    if (threads == NULL) {
        return stats;
    }
    uint64_t ns = 0;
    for (struct dirent *entry = readdir(threads); entry != NULL; entry = readdir(threads)) {
        ns += entry->d_name[0] == '.' ? 0 : thread_cpu_ns(pid, entry->d_name);
    }
    (void)closedir(threads);
    stats.cpu_us = ns / 1000;
    stats.pss_kib = field(pid, "smaps_rollup", "Pss:");
    read_name(pid, stats.name, sizeof stats.name);
    stats.written_bytes = field(pid, "io", "write_bytes:");
    return stats;
}
