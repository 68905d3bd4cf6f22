/* process_stats: CPU time and memory of the server's processes, read from /proc. */
#ifndef PIPIT_LOADTEST_PROCESS_STATS_H
#define PIPIT_LOADTEST_PROCESS_STATS_H

#include <stdint.h>

struct process_stats {
    char name[20];
    uint64_t cpu_us; /* user + system */
    uint64_t pss_kib;
    uint64_t written_bytes;
};
/* All zero when the process is gone. */
struct process_stats process_stats_read(long pid);

#endif
