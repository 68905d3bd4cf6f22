/* keeper: a timer on the loop, a job on one worker thread, and a call back to the loop; at any time
 * exactly one of the three is armed, so nothing here needs a lock. A kick during a run only makes
 * the next one come at once. */
#include "services/auth/keeper.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/auth/invites.h"
#include <sodium.h>

#define KEEPER_INTERVAL_MAX_US 10000000u
#define KEEPER_LOOKS_PER_MARGIN 6u /* so that a published key is seen well before it signs */
#define KEEPER_RETRY_US 500000u
#define KEEPER_KICK_US 1000u

struct keeper {
    struct auth *auth;
    struct worker_pool *pool;
    struct worker_job job;
    struct loop_timer timer;
    struct loop_call done;
    bool running, kicked, quiet;
    /* Of the run under way: */
    bool keys_changed;
    enum err keys_error, first_error;
    bool first_done;
    struct invite_first first;
};

/* Static: the operations port may read them until the process ends. */
static struct ops_check keys_check = {.name = "keys"};
static struct ops_check first_check = {.name = "first_start"};

static void on_timer(struct loop_timer *timer);
static void on_done(struct loop_call *call);

static void schedule(struct keeper *keeper, uint64_t delay_us) {
    loop_timer_start(keeper->auth->service->loop, &keeper->timer, delay_us, on_timer);
}

/* --- on the worker thread */

static void work(struct worker_job *job) {
    struct keeper *keeper = CONTAINER_OF(job, struct keeper, job);
    struct ask ask;
    keeper->keys_changed = false;
    ask_init(&ask, &keeper->auth->peers);
    keeper->keys_error =
        key_ring_refresh(keeper->auth->keys, &ask, clock_wall_ms(), &keeper->keys_changed);
    if (!keeper->first_done) {
        keeper->first_error = keeper->keys_error == ERR_OK
                                  ? invite_first_start(&keeper->first, &ask, clock_wall_ms())
                                  : keeper->keys_error;
    }
    ask_finish(&ask);
    loop_post_call(keeper->auth->service->loop, &keeper->done, on_done);
}

/* --- on the loop */

static void tell_others(struct keeper *keeper) {
    struct revocation_announcement *announcement = revocation_announcement_make(keeper->auth->feed);
    if (announcement == NULL) {
        keeper->kicked = true; /* they would look by themselves, later */
        return;
    }
    revocation_announce_keys(&announcement);
}

static void report(struct keeper *keeper) {
    static struct log_limit limit;
    enum err error = keeper->keys_error != ERR_OK ? keeper->keys_error : keeper->first_error;
    if (error != ERR_OK && log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "signing keys or the first invite are not settled; trying again",
                  F_ERR(error));
    }
    if (keeper->keys_error == ERR_OK) {
        atomic_store(&keys_check.ready, true);
    }
    if (!keeper->first_done && keeper->first_error == ERR_OK) {
        keeper->first_done = true;
        sodium_memzero(&keeper->first, sizeof keeper->first);
        atomic_store(&first_check.ready, true);
    }
}

static void on_done(struct loop_call *call) {
    struct keeper *keeper = CONTAINER_OF(call, struct keeper, done);
    keeper->running = false;
    report(keeper);
    if (keeper->keys_changed && keeper->keys_error == ERR_OK) {
        tell_others(keeper);
    }
    if (keeper->quiet) {
        return;
    }
    uint64_t look_us = keeper->auth->settings->key_margin_us / KEEPER_LOOKS_PER_MARGIN;
    look_us = look_us < KEEPER_RETRY_US ? KEEPER_RETRY_US : look_us;
    look_us = look_us > KEEPER_INTERVAL_MAX_US ? KEEPER_INTERVAL_MAX_US : look_us;
    bool settled = keeper->keys_error == ERR_OK && keeper->first_done;
    uint64_t delay_us = settled ? look_us : KEEPER_RETRY_US;
    schedule(keeper, keeper->kicked ? KEEPER_KICK_US : delay_us);
}

static void on_timer(struct loop_timer *timer) {
    struct keeper *keeper = CONTAINER_OF(timer, struct keeper, timer);
    keeper->kicked = false;
    if (worker_submit(keeper->pool, &keeper->job) == ERR_OK) {
        keeper->running = true;
    } else {
        schedule(keeper, KEEPER_RETRY_US);
    }
}

void keeper_kick(struct keeper *keeper) {
    keeper->kicked = true;
    if (!keeper->running && !keeper->quiet) {
        schedule(keeper, KEEPER_KICK_US);
    }
}

bool keeper_quiesce(struct keeper *keeper) {
    keeper->quiet = true;
    loop_timer_stop(keeper->auth->service->loop, &keeper->timer);
    return !keeper->running;
}

enum err keeper_create(struct auth *auth, struct keeper **out) {
    struct keeper *keeper = mem_zalloc(1, sizeof *keeper);
    if (keeper == NULL) {
        return ERR_NO_MEMORY;
    }
    keeper->auth = auth;
    keeper->job.run = work;
    enum err error = worker_pool_create("auth-keeper", 1, 1, &keeper->pool);
    if (error != ERR_OK) {
        mem_free(keeper);
        return error;
    }
    ops_check_add(auth->service->ops, &keys_check);
    ops_check_add(auth->service->ops, &first_check);
    schedule(keeper, KEEPER_KICK_US);
    *out = keeper;
    return ERR_OK;
}

void keeper_destroy(struct keeper **keeper) {
    if (*keeper == NULL) {
        return;
    }
    (void)keeper_quiesce(*keeper); /* the pool waits for a run by itself */
    worker_pool_destroy(&(*keeper)->pool);
    mem_free(*keeper);
    *keeper = NULL;
}
