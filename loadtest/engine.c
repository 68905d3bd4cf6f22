/* engine: the phases are connecting (a bounded number at a time), measuring, and waiting for the
 * last arrivals; /proc is read at the borders of the second. */
#include "loadtest/engine.h"

#include "common/clock.h"
#include "common/contract.h"
#include "loadtest/chat.h"
#include "loadtest/scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTS_AT_ONCE 200u
#define PROGRESS_US 1000000u

static void read_processes(const struct engine *engine, struct process_stats *stats) {
    for (unsigned i = 0; i < engine->options->pid_count; i++) {
        stats[i] = process_stats_read(engine->options->pids[i]);
    }
}

struct second *engine_second(const struct engine *engine, uint64_t now_us) {
    uint64_t second = engine->start_us > 0 ? (now_us - engine->start_us) / 1000000u : 0;
    return &engine->result->timeline[second < RESULT_SECONDS_MAX ? second : RESULT_SECONDS_MAX - 1];
}

uint64_t engine_take_due(struct engine *engine, uint64_t now_us) {
    double gap_us = 1e6 / engine->options->rate;
    uint64_t due_us = engine->start_us + (uint64_t)((double)engine->scheduled * gap_us);
    if (due_us > now_us) {
        return UINT64_MAX;
    }
    engine->scheduled++;
    return due_us;
}

/* --- phases */

static void open_more(struct engine *engine) {
    uint32_t settled = engine->ready + (uint32_t)engine->result->closed;
    while (engine->opened < engine->options->clients &&
           engine->opened < settled + CONNECTS_AT_ONCE) {
        client_open(&engine->clients[engine->opened++]);
    }
}

static void begin(struct engine *engine, uint64_t now_us) {
    engine->result->connect_seconds = (double)(now_us - engine->born_us) / 1e6;
    read_processes(engine, engine->result->before);
    engine->result->self_before = process_stats_read((long)getpid());
    engine->start_us = clock_mono_us();
    if (engine->scenario->begin != NULL) {
        engine->scenario->begin(engine);
    }
}

static void stop(struct engine *engine, uint64_t now_us) {
    engine->stop_us = now_us;
    engine->result->seconds = (double)(now_us - engine->start_us) / 1e6;
    read_processes(engine, engine->result->after);
    engine->result->self_after = process_stats_read((long)getpid());
}

static bool is_over(struct engine *engine, uint64_t now_us) {
    return engine->scenario->is_over != NULL
               ? engine->scenario->is_over(engine, now_us)
               : now_us - engine->start_us >= (uint64_t)(engine->options->seconds * 1e6);
}

static void on_tick(struct loop_timer *timer) {
    struct engine *engine = CONTAINER_OF(timer, struct engine, tick);
    const struct result *result = engine->result;
    uint64_t now_us = clock_mono_us();
    loop_timer_start(engine->loop, timer, ENGINE_TICK_US, on_tick);
    if (engine->start_us == 0) {
        open_more(engine);
        if (engine->ready + result->closed >= engine->options->clients) {
            begin(engine, now_us);
        }
    } else if (engine->stop_us == 0) {
        if (is_over(engine, now_us)) {
            stop(engine, now_us);
        } else if (engine->scenario->tick != NULL) {
            engine->scenario->tick(engine, now_us);
        }
    } else if ((result_lost(result) == 0 && result->acked >= result->sent) ||
               now_us - engine->stop_us > ENGINE_LATE_US) {
        loop_stop(engine->loop);
    }
}

static void on_progress(struct loop_timer *timer) {
    struct engine *engine = CONTAINER_OF(timer, struct engine, progress);
    const struct result *result = engine->result;
    uint64_t now_us = clock_mono_us();
    loop_timer_start(engine->loop, timer, PROGRESS_US, on_progress);
    if (engine->start_us == 0) {
        (void)fprintf(stderr, "%u of %u connected\n", engine->ready, engine->options->clients);
        return;
    }
    (void)fprintf(stderr, "%.0f s: %llu acknowledged, %llu delivered, %llu logins, %llu back\n",
                  (double)(now_us - engine->start_us) / 1e6, (unsigned long long)result->acked,
                  (unsigned long long)result->received, (unsigned long long)result->logins,
                  (unsigned long long)result->back);
}

/* --- what clients tell */

static void on_ready(struct client *client) {
    struct engine *engine = client->engine;
    engine->ready++;
    if (engine->scenario->ready != NULL) {
        engine->scenario->ready(client);
    }
}

static void on_refused(struct client *client, const char *text, size_t bytes) {
    if (client->engine->scenario->closed != NULL) {
        return; /* it will be closed, and tries again */
    }
    if (client->engine->result->refused++ < 3) {
        (void)fprintf(stderr, "refused (%s): %.*s\n", client->name, (int)bytes, text);
    }
}

static void on_closed(struct client *client) {
    struct engine *engine = client->engine;
    if (engine->scenario->closed != NULL) {
        engine->scenario->closed(client);
        return;
    }
    if (engine->result->closed++ < 3) {
        (void)fprintf(stderr, "closed by the server: %s\n", client->name);
    }
}

static const struct client_events events = {on_ready, chat_on_acked, chat_on_message, on_refused,
                                            on_closed};

/* --- names and places */

const char *engine_group_of(const struct engine *engine, uint32_t client,
                            char name[LOAD_NAME_BYTES]) {
    uint32_t group = client / engine->options->group_size;
    if (engine->groups != NULL) {
        return engine->groups[group];
    }
    (void)snprintf(name, LOAD_NAME_BYTES, "g%u", group);
    return name;
}

static FILE *open_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
    }
    return file;
}

static bool read_groups(struct engine *engine) {
    const struct load_options *options = engine->options;
    uint32_t count = options->clients / options->group_size + 1;
    if (options->groups == NULL || !engine->scenario->in_groups) {
        return true;
    }
    FILE *file = open_file(options->groups);
    if (file == NULL) {
        return false;
    }
    engine->groups = calloc(count, sizeof *engine->groups);
    CONTRACT(engine->groups != NULL);
    uint32_t found = 0;
    while (found < count && fscanf(file, "%63s", engine->groups[found]) == 1) {
        found++;
    }
    (void)fclose(file);
    if (found < engine->active / options->group_size) {
        (void)fprintf(stderr, "%s: %u conversations, %u are needed\n", options->groups, found,
                      engine->active / options->group_size);
        return false;
    }
    return true;
}

/* The client whose account this one may use as well, when the file has no more; itself: none. */
static uint32_t sharing(const struct engine *engine, uint32_t index, uint32_t accounts) {
    if (engine->scenario->shares_accounts && accounts > 0) {
        return index % accounts;
    }
    if (index >= engine->active && accounts > engine->active) { /* those who only listen */
        return engine->active + (index - engine->active) % (accounts - engine->active);
    }
    return index;
}

static bool read_accounts(struct engine *engine) {
    const struct load_options *options = engine->options;
    FILE *file = options->accounts != NULL ? open_file(options->accounts) : NULL;
    if (file == NULL && options->accounts != NULL) {
        return false;
    }
    bool good = true;
    uint32_t accounts = 0;
    for (uint32_t i = 0; good && i < options->clients; i++) {
        struct client *client = &engine->clients[i];
        (void)snprintf(client->id, sizeof client->id, "c%u", i);
        if (file == NULL) {
            (void)snprintf(client->name, sizeof client->name, "c%u", i);
        } else if (accounts == i && fscanf(file, "%63s %1023s", client->name, client->token) == 2) {
            accounts++;
        } else if (sharing(engine, i, accounts) != i) {
            const struct client *same = &engine->clients[sharing(engine, i, accounts)];
            memcpy(client->name, same->name, sizeof client->name);
            memcpy(client->token, same->token, sizeof client->token);
        } else {
            (void)fprintf(stderr, "%s ends before client %u\n", options->accounts, i);
            good = false;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return good;
}

/* The pattern with names in place of {me}, {peer} and {group}. */
static void fill_pattern(const struct engine *engine, const struct client *client,
                         const char *pattern, char *out, size_t bytes) {
    static const char *const holes[] = {"{me}", "{peer}", "{group}"};
    char group[LOAD_NAME_BYTES];
    uint32_t peer =
        (client->index ^ 1u) < engine->options->clients ? client->index ^ 1u : client->index;
    const char *const names[] = {client->name, engine->clients[peer].name,
                                 engine_group_of(engine, client->index, group)};
    size_t length = 0;
    while (*pattern != '\0' && length + 1 < bytes) {
        size_t hole = 0;
        while (hole < 3 && strncmp(pattern, holes[hole], strlen(holes[hole])) != 0) {
            hole++;
        }
        if (hole == 3) {
            out[length++] = *pattern++;
        } else {
            length += (size_t)snprintf(out + length, bytes - length, "%s", names[hole]);
            pattern += strlen(holes[hole]);
        }
    }
    out[length < bytes ? length : bytes - 1] = '\0';
}

static void address_clients(struct engine *engine) {
    const struct load_options *options = engine->options;
    bool group = engine->scenario->in_groups;
    for (uint32_t i = 0; i < options->clients; i++) {
        struct client *client = &engine->clients[i];
        bool ws = client->protocol == &client_ws;
        fill_pattern(engine, client,
                     !ws     ? options->send_topic
                     : group ? "{group}"
                             : "{peer}",
                     client->target, sizeof client->target);
        client->target_is_group = group;
        fill_pattern(engine, client, options->inbox, client->inbox, sizeof client->inbox);
    }
}

static bool make_clients(struct engine *engine) {
    const struct load_options *options = engine->options;
    engine->clients = calloc(options->clients, sizeof *engine->clients);
    CONTRACT(engine->clients != NULL);
    for (uint32_t i = 0; i < options->clients; i++) {
        struct client *client = &engine->clients[i];
        client->engine = engine;
        client->loop = engine->loop;
        client->protocol = options->protocol;
        client->port = options->port;
        client->events = &events;
        client->index = i;
        client->inbox_qos = (uint8_t)options->inbox_qos;
        client->watch.fd = -1;
        buf_init(&client->in, 4u << 20);
        buf_init(&client->out, 64u << 20);
        /* Half of the pairs of mixed are WebSocket. */
        if (engine->scenario == &scenario_mixed && i / 2 % 2 == 1) {
            client->protocol = &client_ws;
            client->port = options->ws_port;
        }
        client->port = (uint16_t)(client->port + i % options->doors);
    }
    if (!read_accounts(engine) || !read_groups(engine)) {
        return false;
    }
    address_clients(engine);
    return true;
}

static void free_all(struct engine *engine) {
    for (uint32_t i = 0; i < engine->options->clients; i++) {
        struct client *client = &engine->clients[i];
        client_close(client);
        loop_timer_stop(engine->loop, &client->retry);
        buf_finish(&client->in);
        buf_finish(&client->out);
        free(client->sent_at_us);
    }
    tracker_destroy(&engine->tracker);
    free(engine->groups);
    free(engine->clients);
    loop_timer_stop(engine->loop, &engine->tick);
    loop_timer_stop(engine->loop, &engine->progress);
    loop_destroy(&engine->loop);
}

bool engine_run(const struct load_options *options, struct result *result) {
    struct engine engine = {.options = options,
                            .scenario = scenario_find(options->scenario),
                            .result = result,
                            .active = options->clients - options->idle};
    if (loop_create(16, &engine.loop) != ERR_OK) {
        (void)fputs("pipit-load: no event loop\n", stderr);
        return false;
    }
    tracker_create(&engine.tracker, options->clients, options->group_size);
    bool good = make_clients(&engine);
    if (good) {
        read_processes(&engine, result->empty);
        engine.born_us = clock_mono_us();
        if (!engine.scenario->connects) {
            begin(&engine, engine.born_us);
        }
        if (options->progress) {
            loop_timer_start(engine.loop, &engine.progress, PROGRESS_US, on_progress);
        }
        loop_timer_start(engine.loop, &engine.tick, 1, on_tick);
        good = loop_run(engine.loop) == ERR_OK;
        if (engine.scenario->end != NULL) {
            engine.scenario->end(&engine);
        }
    }
    free_all(&engine);
    return good;
}
