/* mongo_health: one thread, one question at a time, three states.
 *
 * Up: asked every second, and at once when a call reports trouble. Down: asked four times a second.
 * A call may only declare the way down; the way up is the thread's alone, so a call that hung while
 * the server came back cannot confuse anybody for longer than one question takes.
 *
 * A server can answer and still not store: no majority, a full disk, a read-only user. Such trouble
 * leaves the state up, so that reading goes on, and is kept beside it; the next questions then
 * write, until one is stored. */
#include "services/storage/mongo_health.h"

#include "common/contract.h"
#include "common/log.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static void lock(struct mongo_health *health) {
    int code = pthread_mutex_lock(&health->lock);
    CONTRACT(code == 0);
}

static void unlock(struct mongo_health *health) {
    int code = pthread_mutex_unlock(&health->lock);
    CONTRACT(code == 0);
}

static struct timespec in_ms(uint64_t ms) {
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at); /* this clock always exists */
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

/* --- with the lock */

static void go_up(struct mongo_health *health) {
    if (health->state == MONGO_UP) {
        return;
    }
    if (health->state == MONGO_DOWN) {
        log_event(LOG_INFO, "database is back");
    }
    health->state = MONGO_UP;
    health->reason[0] = '\0';
    (void)pthread_cond_broadcast(&health->changed);
}

static void go_down(struct mongo_health *health, const char *reason) {
    (void)snprintf(health->reason, sizeof(health->reason), "%s", reason);
    if (health->state == MONGO_DOWN) {
        return;
    }
    health->state = MONGO_DOWN;
    health->ask_now = true;
    log_event(LOG_WARN, "database is not available; requests are refused until it is back",
              F_TEXT("reason", health->reason));
    (void)pthread_cond_broadcast(&health->changed);
}

static void set_writes(struct mongo_health *health, enum err error, const char *reason) {
    health->ask_now = health->ask_now || (error != ERR_OK && health->writes == ERR_OK);
    health->writes = error;
    if (error == ERR_OK && health->writes_logged) {
        log_event(LOG_INFO, "database stores writes again");
        health->writes_logged = false;
    } else if (error != ERR_OK && !health->writes_logged && health->state == MONGO_UP) {
        log_event(LOG_WARN, "database answers, but does not store; writes are refused",
                  F_ERR(error), F_TEXT("reason", reason));
        health->writes_logged = true;
    }
}

/* asked_to_store: it answered, and the error is what became of the write. */
static void apply(struct mongo_health *health, bool asked_to_store, enum err error,
                  const char *reason) {
    if (error != ERR_OK && !asked_to_store) {
        go_down(health, reason);
        return;
    }
    go_up(health);
    if (asked_to_store) {
        set_writes(health, error, reason);
    }
}

static void wait_for_turn(struct mongo_health *health) {
    bool calm = health->state == MONGO_UP;
    struct timespec until = in_ms(calm ? MONGO_HEALTH_UP_MS : MONGO_HEALTH_DOWN_MS);
    while (!health->stopping && !health->ask_now) {
        if (pthread_cond_timedwait(&health->changed, &health->lock, &until) != 0) {
            return;
        }
    }
}

static void *thread_main(void *argument) {
    struct mongo_health *health = argument;
    lock(health);
    while (!health->stopping) {
        char reason[MONGO_HEALTH_REASON_BYTES] = "";
        bool prepare = health->state != MONGO_UP;
        bool store = health->writes != ERR_OK;
        health->ask_now = false;
        unlock(health);
        enum err error = health->probe(health->user, MONGO_ASK, reason);
        if (error == ERR_OK && prepare) {
            error = health->probe(health->user, MONGO_PREPARE, reason);
        }
        bool asked_to_store = error == ERR_OK && store;
        if (asked_to_store) {
            error = health->probe(health->user, MONGO_STORE, reason);
        }
        lock(health);
        apply(health, asked_to_store, error, reason);
        wait_for_turn(health);
    }
    unlock(health);
    return NULL;
}

/* --- public */

enum err mongo_health_start(struct mongo_health *health, mongo_probe_fn probe, void *user) {
    *health = (struct mongo_health){.probe = probe, .user = user};
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic); /* none of these can fail on Linux */
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&health->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&health->lock, NULL);
    if (pthread_create(&health->thread, NULL, thread_main, health) != 0) {
        (void)pthread_cond_destroy(&health->changed);
        (void)pthread_mutex_destroy(&health->lock);
        return ERR_FULL;
    }
    health->running = true;
    (void)pthread_setname_np(health->thread, "mongo-health"); /* a name is only for humans */
    return ERR_OK;
}

void mongo_health_stop(struct mongo_health *health) {
    if (!health->running) {
        return;
    }
    lock(health);
    health->stopping = true;
    (void)pthread_cond_broadcast(&health->changed);
    unlock(health);
    (void)pthread_join(health->thread, NULL); /* ours, joined once */
    (void)pthread_cond_destroy(&health->changed);
    (void)pthread_mutex_destroy(&health->lock);
    health->running = false;
}

bool mongo_health_wait(struct mongo_health *health, uint64_t timeout_ms,
                       char reason[MONGO_HEALTH_REASON_BYTES]) {
    struct timespec until = in_ms(timeout_ms);
    lock(health);
    while (health->state != MONGO_UP) {
        if (pthread_cond_timedwait(&health->changed, &health->lock, &until) != 0) {
            break;
        }
    }
    bool up = health->state == MONGO_UP;
    (void)snprintf(reason, MONGO_HEALTH_REASON_BYTES, "%s",
                   health->reason[0] != '\0' ? health->reason : "no answer yet");
    unlock(health);
    return up;
}

bool mongo_health_admits(struct mongo_health *health) {
    lock(health);
    while (health->state == MONGO_STARTING) {
        (void)pthread_cond_wait(&health->changed, &health->lock); /* the first answer ends it */
    }
    bool up = health->state == MONGO_UP;
    unlock(health);
    return up;
}

void mongo_health_report(struct mongo_health *health, enum mongo_trouble trouble, enum err error,
                         const char *reason) {
    if (trouble == MONGO_TROUBLE_NONE) {
        return;
    }
    lock(health);
    if (trouble == MONGO_TROUBLE_UNREACHABLE) {
        go_down(health, reason);
    } else {
        set_writes(health, error, reason);
    }
    (void)pthread_cond_broadcast(&health->changed);
    unlock(health);
}

enum err mongo_health_now(struct mongo_health *health) {
    lock(health);
    enum err error = health->state == MONGO_UP ? health->writes : ERR_UNAVAILABLE;
    unlock(health);
    return error;
}
