/* support_bus: see the header. Server processes are this program started again with execve, because
 * a fork of a process that runs nng has none of nng's threads. */
#include "tests/unit/common/support_bus.h"

#include "common/contract.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_FD 3
#define TURN_US 5000u /* `done` is asked at least this often: it may send something again */
#define ARGUMENTS_MAX 8
#define FOLDERS_MAX 64
#define FIRST_PORT 20000
#define PORTS 12000 /* below 32768, where outgoing connections begin */

static char folders[FOLDERS_MAX][32];
static size_t folder_count;

/* The real clock: tests may have frozen the other one. */
static uint64_t real_us(void) {
    struct timespec now;
    CONTRACT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

bool support_turn_until(struct loop *loop, bool (*done)(void *arg), void *arg) {
    uint64_t deadline_us = real_us() + SUPPORT_DEADLINE_US;
    while (!done(arg)) {
        if (real_us() >= deadline_us) {
            return false;
        }
        CONTRACT(loop_turn(loop, TURN_US) == ERR_OK);
    }
    return true;
}

struct at_least {
    const unsigned *count;
    unsigned at_least;
};

static bool reached(void *arg) {
    struct at_least *wanted = arg;
    return *wanted->count >= wanted->at_least;
}

bool support_turn_until_count(struct loop *loop, const unsigned *count, unsigned at_least) {
    struct at_least wanted = {count, at_least};
    return support_turn_until(loop, reached, &wanted);
}

void support_turn_for(struct loop *loop, uint64_t us) {
    uint64_t deadline_us = real_us() + us;
    for (uint64_t now_us; (now_us = real_us()) < deadline_us;) {
        CONTRACT(loop_turn(loop, deadline_us - now_us) == ERR_OK);
    }
}

static bool port_is_free(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return is_free;
}

void support_tcp_address(char base[BUS_URL_BYTES]) {
    static int next = -1;
    if (next < 0) {
        next = (int)(getpid() % (PORTS / 2)) * 2; /* tests run side by side */
    }
    for (int i = 0; i < PORTS / 2; i++) {
        int port = FIRST_PORT + next;
        next = (next + 2) % PORTS;
        if (port_is_free(port) && port_is_free(port + 1)) {
            (void)snprintf(base, BUS_URL_BYTES, "tcp://127.0.0.1:%d", port);
            return;
        }
    }
    contract_failed("no free port", __FILE__, __LINE__);
}

void support_ipc_address(char base[BUS_URL_BYTES]) {
    CONTRACT(folder_count < FOLDERS_MAX);
    char *folder = folders[folder_count++];
    (void)snprintf(folder, sizeof folders[0], "/tmp/pipit-test-XXXXXX");
    CONTRACT(mkdtemp(folder) != NULL);
    (void)snprintf(base, BUS_URL_BYTES, "ipc://%s/s", folder);
}

void support_remove_folders(void) {
    while (folder_count > 0) {
        char path[64];
        const char *folder = folders[--folder_count];
        (void)snprintf(path, sizeof path, "%s/s.rep", folder);
        (void)unlink(path);
        (void)snprintf(path, sizeof path, "%s/s.pub", folder);
        (void)unlink(path);
        (void)rmdir(folder);
    }
}

pid_t support_spawn(const char *const *arguments) {
    char *argv[ARGUMENTS_MAX + 2] = {(char *)(uintptr_t)"server"};
    for (size_t i = 0; arguments[i] != NULL; i++) {
        CONTRACT(i < ARGUMENTS_MAX);
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    }
    int ready[2];
    CONTRACT(pipe(ready) == 0);
    pid_t child = fork();
    CONTRACT(child >= 0);
    if (child == 0) {
        if (ready[1] != READY_FD) {
            (void)dup2(ready[1], READY_FD);
            (void)close(ready[1]);
        }
        if (ready[0] != READY_FD) {
            (void)close(ready[0]);
        }
        (void)execv("/proc/self/exe", argv);
        _exit(127);
    }
    (void)close(ready[1]);
    char byte;
    CONTRACT(read(ready[0], &byte, 1) == 1); /* 0: the child died before it was ready */
    (void)close(ready[0]);
    return child;
}

void support_child_ready(void) {
    CONTRACT(write(READY_FD, "r", 1) == 1);
    (void)close(READY_FD);
}

bool support_ended_well(pid_t child) {
    int status;
    CONTRACT(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void support_freeze(pid_t child) {
    int status;
    CONTRACT(kill(child, SIGSTOP) == 0);
    CONTRACT(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
}

void support_thaw(pid_t child) {
    CONTRACT(kill(child, SIGCONT) == 0);
}

void support_kill(pid_t child, int signal_number) {
    CONTRACT(kill(child, signal_number) == 0);
    CONTRACT(waitpid(child, NULL, 0) == child);
}
