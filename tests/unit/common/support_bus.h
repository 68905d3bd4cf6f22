/* support_bus: what the tests of bus, stream and rpc share: waiting on a loop for a condition with
 * a deadline, free addresses, and server processes that can be killed. */
#ifndef PIPIT_TESTS_SUPPORT_BUS_H
#define PIPIT_TESTS_SUPPORT_BUS_H

#include "common/bus.h"

#include <sys/types.h>

#define SUPPORT_DEADLINE_US 20000000u

/* Turns the loop until done(arg) or the deadline; returns what done said last. */
bool support_turn_until(struct loop *loop, bool (*done)(void *arg), void *arg);
/* The same for "this unsigned is at least that". */
bool support_turn_until_count(struct loop *loop, const unsigned *count, unsigned at_least);
/* Turns the loop for this long. */
void support_turn_for(struct loop *loop, uint64_t us);

/* A base address nobody uses now: tcp on 127.0.0.1 (two ports below 32768), or ipc in a fresh
 * folder. */
void support_tcp_address(char base[BUS_URL_BYTES]);
void support_ipc_address(char base[BUS_URL_BYTES]);
/* Removes the folders of support_ipc_address. */
void support_remove_folders(void);

/* Starts this very program again with the arguments (NULL-terminated, without argv[0]) and waits
 * until it has called support_child_ready (a byte on descriptor 3). */
pid_t support_spawn(const char *const *arguments);
void support_child_ready(void);
/* waitpid(2): true when the child ended by itself with status 0. */
bool support_ended_well(pid_t child);
/* SIGSTOP, and waits until all its threads have stopped; SIGCONT. */
void support_freeze(pid_t child);
void support_thaw(pid_t child);
/* kill(2) and waitpid(2). */
void support_kill(pid_t child, int signal_number);

#endif
