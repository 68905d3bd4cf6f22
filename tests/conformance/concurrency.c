/* concurrency: many threads append to the same conversations, each numbering as routing does: take
 * the head, try, and number again when somebody else was faster. The log must come out dense, with
 * every acknowledged message once and each thread's own messages in their order. Readers run
 * beside. */
#include "tests/conformance/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define THREADS 6u
#define CONVERSATIONS 3u
#define APPENDS 60u

struct appender {
    struct fixture fixture; /* own arena, shared store */
    unsigned number;
    unsigned stored; /* must become APPENDS */
    char problem[128];
};

static const char *conversation_name(unsigned number) {
    static const char *const names[CONVERSATIONS] = {"c_0", "c_1", "c_2"};
    return names[number % CONVERSATIONS];
}

/* cmocka asserts only on the test's own thread: threads note a problem instead. */
static enum err append_once(struct appender *self, const char *conversation,
                            Pipit__StoredMessage *message, uint64_t *head) {
    Pipit__AppendRun run = PIPIT__APPEND_RUN__INIT;
    Pipit__AppendRun *runs[] = {&run};
    Pipit__AppendBatch batch = PIPIT__APPEND_BATCH__INIT;
    Pipit__AppendReply reply = PIPIT__APPEND_REPLY__INIT;
    struct store *store = self->fixture.store;
    run.conversation = (char *)conversation;
    run.first_seq = *head + 1;
    run.messages = &message;
    run.n_messages = 1;
    batch.runs = runs;
    batch.n_runs = 1;
    struct store_append item = {&batch, &self->fixture.arena, &reply};
    enum err error = store->ops->append(store, &item, 1);
    if (error != ERR_OK) {
        return error;
    }
    *head = reply.results[0]->head;
    return (enum err)reply.results[0]->error;
}

static void *append_all(void *argument) {
    struct appender *self = argument;
    uint64_t heads[CONVERSATIONS] = {0};
    for (unsigned i = 0; i < APPENDS && self->problem[0] == '\0'; i++) {
        unsigned place = (i + self->number) % CONVERSATIONS;
        char body[32];
        int bytes = snprintf(body, sizeof(body), "%u %u", self->number, i);
        Pipit__StoredMessage *message = message_make(&self->fixture, "u_ann", body, (size_t)bytes);
        enum err error = ERR_DUPLICATE_SEQ;
        while (error == ERR_DUPLICATE_SEQ) {
            error = append_once(self, conversation_name(place), message, &heads[place]);
        }
        if (error != ERR_OK) {
            (void)snprintf(self->problem, sizeof(self->problem), "append %u: %s", i,
                           err_name(error));
        }
        self->stored += error == ERR_OK;
    }
    return NULL;
}

struct reader {
    struct store *store;
    atomic_bool *stop;
    char problem[128];
    uint64_t pages;
};

static void *read_all(void *argument) {
    struct reader *self = argument;
    struct arena arena;
    arena_init(&arena, 65536, 16u * 1024u * 1024u);
    uint64_t seen = 0;
    while (!atomic_load(self->stop) && self->problem[0] == '\0') {
        Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
        request.conversation = "c_0";
        Pipit__HistoryReply reply = PIPIT__HISTORY_REPLY__INIT;
        enum err error = self->store->ops->history(self->store, &request, &arena, &reply);
        if (error != ERR_OK || reply.n_messages != reply.head || reply.head < seen) {
            (void)snprintf(self->problem, sizeof(self->problem), "%s: %zu messages, head %zu",
                           err_name(error), reply.n_messages, (size_t)reply.head);
        }
        seen = reply.head;
        self->pages++;
        arena_reset(&arena);
    }
    arena_finish(&arena);
    return NULL;
}

/* Dense, and each thread's messages in their order. */
static unsigned check_log(struct fixture *f, const char *conversation) {
    Pipit__HistoryReply *all = history_all(f, conversation);
    int next[THREADS];
    memset(next, -1, sizeof(next));
    for (size_t i = 0; i < all->n_messages; i++) {
        unsigned thread = 0;
        int number = 0;
        char body[32] = "";
        assert_int_equal(all->messages[i]->seq, i + 1);
        memcpy(body, all->messages[i]->body.data, all->messages[i]->body.len);
        assert_int_equal(sscanf(body, "%u %d", &thread, &number), 2);
        assert_true(number > next[thread]);
        next[thread] = number;
    }
    return (unsigned)all->n_messages;
}

static void logs_stay_dense_under_contention(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    for (unsigned i = 0; i < CONVERSATIONS; i++) {
        group_make(f, conversation_name(i), "u_ann", NULL);
    }
    static struct appender appenders[THREADS];
    pthread_t threads[THREADS];
    pthread_t reading;
    atomic_bool stop = false;
    struct reader reader = {.store = f->store, .stop = &stop};
    assert_int_equal(pthread_create(&reading, NULL, read_all, &reader), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        appenders[i] =
            (struct appender){.fixture = {.store = f->store, .now_ms = f->now_ms}, .number = i};
        arena_init(&appenders[i].fixture.arena, 65536, 16u * 1024u * 1024u);
        assert_int_equal(pthread_create(&threads[i], NULL, append_all, &appenders[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        arena_finish(&appenders[i].fixture.arena);
        assert_string_equal(appenders[i].problem, "");
        assert_int_equal(appenders[i].stored, APPENDS);
    }
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(reading, NULL), 0);
    assert_string_equal(reader.problem, "");
    unsigned total = 0;
    for (unsigned i = 0; i < CONVERSATIONS; i++) {
        total += check_log(f, conversation_name(i));
    }
    assert_int_equal(total, THREADS * APPENDS);
}

int concurrency_tests(void) {
    const struct CMUnitTest tests[] = {STORE_TEST(logs_stay_dense_under_contention)};
    return cmocka_run_group_tests_name("concurrency", tests, NULL, NULL);
}
