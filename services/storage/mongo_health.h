/* mongo_health: is the database usable? One thread asks it every second, calls report what they
 * met, and everybody else gets an answer without waiting: while the database is down, requests are
 * refused at once instead of each waiting for its time-out, and the way back is found even when
 * nobody writes. Changes are logged once each. */
#ifndef PIPIT_STORAGE_MONGO_HEALTH_H
#define PIPIT_STORAGE_MONGO_HEALTH_H

#include "services/storage/mongo_error.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define MONGO_HEALTH_UP_MS 1000u  /* between two questions while it answers */
#define MONGO_HEALTH_DOWN_MS 250u /* while it does not; libmongoc adds up to 500 ms of its own */
#define MONGO_HEALTH_REASON_BYTES 512 /* more than bson_error_t.message */

enum mongo_state {
    MONGO_STARTING, /* nothing is known yet */
    MONGO_UP,
    MONGO_DOWN
};

enum mongo_question {
    MONGO_ASK,     /* does a writable server answer? */
    MONGO_PREPARE, /* it does now, and did not before: make it ready for requests */
    MONGO_STORE    /* the last write failed: store something, durably */
};
/* ERR_OK or why not, with the reason. Runs on the health thread, blocks. */
typedef enum err (*mongo_probe_fn)(void *user, enum mongo_question question,
                                   char reason[MONGO_HEALTH_REASON_BYTES]);

struct mongo_health {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* monotonic */
    pthread_t thread;
    bool running, stopping, ask_now;
    mongo_probe_fn probe;
    void *user;
    enum mongo_state state;
    enum err writes;    /* ERR_OK, or why the last write failed */
    bool writes_logged; /* and somebody was told */
    char reason[MONGO_HEALTH_REASON_BYTES];
};

/* ERR_FULL: no thread; nothing to stop. Begins to ask at once. */
enum err mongo_health_start(struct mongo_health *health, mongo_probe_fn probe,
                            void *user) MUST_CHECK;
void mongo_health_stop(struct mongo_health *health);
/* Waits until the database is usable, at most this long. False: reason says why not. */
bool mongo_health_wait(struct mongo_health *health, uint64_t timeout_ms,
                       char reason[MONGO_HEALTH_REASON_BYTES]);
/* May a call go to the server? Waits for the first answer after the start, else not at all. */
bool mongo_health_admits(struct mongo_health *health);
/* What a call met. MONGO_TROUBLE_NONE changes nothing: only the thread declares the way back. */
void mongo_health_report(struct mongo_health *health, enum mongo_trouble trouble, enum err error,
                         const char *reason);
/* ERR_OK; ERR_UNAVAILABLE, ERR_NO_SPACE: writes are refused. Does not block. */
enum err mongo_health_now(struct mongo_health *health);

#endif
