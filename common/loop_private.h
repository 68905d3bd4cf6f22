/* loop_private: what loop.c and loop_timer.c share; nothing else includes it. */
#ifndef PIPIT_COMMON_LOOP_PRIVATE_H
#define PIPIT_COMMON_LOOP_PRIVATE_H

#include "common/loop.h"

/* Pairing heap of armed timers: the root is the nearest. */
struct loop_timers {
    struct loop_timer *root;
    bool firing; /* a timer started with delay 0 while firing waits for the next turn */
};

/* Microseconds from now_us until the nearest timer is due: 0 when one is due, UINT64_MAX when none
 * is armed. */
uint64_t loop_timers_wait_us(const struct loop_timers *timers, uint64_t now_us);
/* Runs every timer that was due at now_us. */
void loop_timers_fire(struct loop_timers *timers, uint64_t now_us);
struct loop_timers *loop_timers_of(struct loop *loop);

#endif
