/* mongo_messages: appending to the log: all runs of all batches as one ordered insert.
 *
 * Happy path: where each conversation ends is known from the cache, so the messages go out at once;
 * their heads are raised by a second command, and a third reads the conversations' versions, after
 * the insert, so that a removal which was finished before it is seen by routing (I4).
 *
 * Order rests on the indexes. A run may begin only behind a seq that is stored durably; that the
 * seq itself is free, and the id new, is decided by the server, which stops the insert at the first
 * document that says otherwise. That run ends there, is explained, and the insert goes on with the
 * runs behind it, checked afresh: what they counted on may not have been stored.
 *
 * A duplicate was waited for: the server answers it under the same write concern, so what a
 * repetition finds is as durable as what an append stores. Should the reads nevertheless not find
 * it, or anything fail after a message was stored, the outcome is ERR_UNAVAILABLE: repeating it
 * with the same ids tells. */
#include "services/storage/store_mongo.h"

#include "common/clock.h"
#include "common/mem.h"
#include "services/storage/metrics.h"
#include "services/storage/mongo_log.h"

/* One insert's documents. Bounds memory (they exist twice for a moment) and how long the server
 * holds its locks; the messages of a group are bounded by commit_messages_max. */
#define DOCUMENTS_MAX 1000u
#define DOCUMENT_BYTES_MAX (8u * 1024u * 1024u)

/* A conversation of this call. */
struct place {
    const char *id;
    bool exists, touched; /* touched: its stored head may have to be raised */
    uint64_t known;       /* seqs 1..known are stored durably */
    uint64_t planned;     /* ..planned would be, if the documents collected are stored */
    uint64_t ts_ms;       /* of `known` */
    uint64_t version;
};
struct run {
    const struct store_append *item;
    const Pipit__AppendRun *run;
    Pipit__AppendResult *result;
    struct place *place;
    struct mongo_stored_at *elsewhere; /* its head may lag, too */
    size_t valid;                      /* messages before the first that may not be stored */
    size_t collected;                  /* messages in the documents or stored */
    bool checked, done;
};
struct document {
    struct run *run;
    Pipit__StoredMessage *message;
};
struct append {
    struct mongo_store *self;
    struct mongo_session session;
    struct body_packer packer;
    struct run *runs;
    struct place *places;
    size_t run_count, place_count;
    struct document *sources; /* beside documents */
    bson_t **documents;
    size_t document_count, document_bytes;
    uint64_t stored;
};

/* --- what is asked for */

/* False: the answer does not fit the arena; this batch alone is refused. */
static bool make_results(const struct store_append *item, Pipit__AppendResult **results) {
    size_t count = item->request->n_runs;
    Pipit__AppendReply *reply = item->reply;
    *results = arena_alloc(item->arena, count * sizeof(**results));
    reply->results = arena_alloc(item->arena, count * sizeof(*reply->results));
    if (*results == NULL || reply->results == NULL) {
        reply->error = ERR_NO_MEMORY;
        return false;
    }
    reply->n_results = count;
    return true;
}

static size_t count_valid(const Pipit__AppendRun *run) {
    size_t valid = 0;
    while (valid < run->n_messages && mongo_log_valid(run->messages[valid])) {
        valid++;
    }
    return valid;
}

static void add_runs(struct append *append, const struct store_append *item) {
    Pipit__AppendResult *results = NULL;
    if (item->request->n_runs == 0 || !make_results(item, &results)) {
        return;
    }
    for (size_t i = 0; i < item->request->n_runs; i++) {
        const Pipit__AppendRun *run = item->request->runs[i];
        pipit__append_result__init(&results[i]);
        item->reply->results[i] = &results[i];
        append->runs[append->run_count++] = (struct run){
            .item = item, .run = run, .result = &results[i], .valid = count_valid(run)};
    }
}

static int compare_runs(const void *a, const void *b) {
    const struct run *const *left = a;
    const struct run *const *right = b;
    return strcmp((*left)->run->conversation, (*right)->run->conversation);
}

/* One place for each conversation; runs keep their order. ERR_NO_MEMORY. */
static enum err add_places(struct append *append) {
    struct run **sorted = mem_alloc(append->run_count * sizeof(struct run *));
    append->places = mem_zalloc(append->run_count, sizeof(*append->places));
    if (sorted == NULL || append->places == NULL) {
        mem_free(sorted);
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < append->run_count; i++) {
        sorted[i] = &append->runs[i];
    }
    qsort(sorted, append->run_count, sizeof(struct run *), compare_runs);
    for (size_t i = 0; i < append->run_count; i++) {
        const char *id = sorted[i]->run->conversation;
        if (i == 0 || strcmp(id, sorted[i - 1]->run->conversation) != 0) {
            append->places[append->place_count++].id = id;
        }
        sorted[i]->place = &append->places[append->place_count - 1];
    }
    mem_free(sorted);
    return ERR_OK;
}

static enum err prepare(struct append *append, const struct store_append *items, size_t count) {
    size_t runs = 0;
    for (size_t i = 0; i < count; i++) {
        runs += items[i].request->n_runs;
    }
    if (runs == 0) {
        return ERR_OK;
    }
    append->runs = mem_zalloc(runs, sizeof(*append->runs));
    append->sources = mem_alloc(DOCUMENTS_MAX * sizeof(*append->sources));
    append->documents = mem_alloc(DOCUMENTS_MAX * sizeof(*append->documents));
    if (append->runs == NULL || append->sources == NULL || append->documents == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        add_runs(append, &items[i]);
    }
    return append->run_count > 0 ? add_places(append) : ERR_OK;
}

static void destroy_documents(struct append *append) {
    for (size_t i = 0; i < append->document_count; i++) {
        bson_destroy(append->documents[i]);
    }
    append->document_count = 0;
    append->document_bytes = 0;
}

static void finish(struct append *append) {
    destroy_documents(append);
    for (size_t i = 0; i < append->run_count; i++) {
        mem_free(append->runs[i].elsewhere);
    }
    mem_free(append->documents);
    mem_free(append->sources);
    mem_free(append->places);
    mem_free(append->runs);
    body_packer_finish(&append->packer);
}

/* --- what is known */

/* Existence and heads of the conversations that the cache does not have: two commands. */
static enum err load_unknown(struct append *append, struct place **unknown, size_t count,
                             const char **ids, uint64_t *numbers) {
    uint64_t *versions = numbers;
    uint64_t *heads = numbers + count;
    uint64_t *ts_ms = numbers + 2 * count;
    for (size_t i = 0; i < count; i++) {
        ids[i] = unknown[i]->id;
    }
    enum err error = mongo_versions(&append->session, ids, count, versions);
    if (error == ERR_OK) {
        error = mongo_heads_read(&append->session, ids, count, heads, ts_ms);
    }
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        unknown[i]->exists = versions[i] != 0;
        unknown[i]->known = heads[i];
        unknown[i]->ts_ms = ts_ms[i];
        if (unknown[i]->exists) {
            mongo_heads_learn(&append->self->heads, unknown[i]->id, heads[i]);
        }
    }
    return error;
}

static enum err load_places(struct append *append) {
    struct place **unknown = mem_alloc(append->place_count * sizeof(struct place *));
    const char **ids = mem_alloc(append->place_count * sizeof(*ids));
    uint64_t *numbers = mem_alloc(3 * append->place_count * sizeof(*numbers));
    size_t count = 0;
    enum err error = unknown == NULL || ids == NULL || numbers == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t i = 0; i < append->place_count && error == ERR_OK; i++) {
        struct place *place = &append->places[i];
        place->exists = mongo_heads_find(&append->self->heads, place->id, &place->known);
        if (!place->exists && mongo_id_valid(place->id)) {
            unknown[count++] = place;
        }
    }
    if (error == ERR_OK && count > 0) {
        error = load_unknown(append, unknown, count, ids, numbers);
    }
    mem_free(numbers);
    mem_free(ids);
    mem_free(unknown);
    return error;
}

/* The true end of the log, which is durable. Its stored head may lag, because who stored it died or
 * lost the server, and the caller is about to look for its messages below that head. */
static enum err load_tail(struct append *append, struct place *place) {
    struct mongo_tail tail = {0};
    enum err error = mongo_log_tail(&append->session, place->id, &tail);
    if (error != ERR_OK) {
        return error;
    }
    if (tail.seq < place->known) {
        mongo_heads_forget(&append->self->heads, place->id); /* the database lost what we knew */
    }
    mongo_heads_learn(&append->self->heads, place->id, tail.seq);
    place->known = tail.seq;
    place->ts_ms = tail.ts_ms;
    place->touched = tail.seq > 0;
    return ERR_OK;
}

/* --- the insert */

static void end_run(struct run *run, enum err error) {
    run->result->error = (uint32_t)error;
    run->result->head = run->place->exists ? run->place->known : 0;
    run->done = true;
}

/* ERR_MORE: it depends on documents collected before; store those first. */
static enum err check_run(struct append *append, struct run *run) {
    struct place *place = run->place;
    uint64_t first_seq = run->run->first_seq;
    if (!place->exists) {
        end_run(run, ERR_NOT_FOUND);
        return ERR_OK;
    }
    if (first_seq != place->planned + 1) {
        if (place->planned != place->known) {
            return ERR_MORE;
        }
        enum err error = load_tail(append, place);
        if (error != ERR_OK) {
            return error;
        }
        place->planned = place->known;
    }
    if (first_seq != place->planned + 1 || first_seq > INT64_MAX - run->run->n_messages) {
        end_run(run, ERR_DUPLICATE_SEQ);
        return ERR_OK;
    }
    run->checked = true;
    place->planned += run->valid;
    return ERR_OK;
}

static bool has_room(const struct append *append) {
    return append->document_count < DOCUMENTS_MAX && append->document_bytes < DOCUMENT_BYTES_MAX;
}

static enum err collect_run(struct append *append, struct run *run) {
    while (run->collected < run->valid && has_room(append)) {
        Pipit__StoredMessage *message = run->run->messages[run->collected];
        bson_t *document = NULL;
        message->seq = run->run->first_seq + run->collected; /* left out on the bus: ours */
        enum err error = mongo_log_encode(run->place->id, message, &append->packer, &document);
        if (error != ERR_OK) {
            return error;
        }
        append->documents[append->document_count] = document;
        append->sources[append->document_count++] = (struct document){run, message};
        append->document_bytes += document->len;
        run->collected++;
    }
    return ERR_OK;
}

/* A run whose valid messages are all stored. */
static void complete_run(struct run *run) {
    if (run->checked && !run->done && run->result->stored_count == run->valid) {
        end_run(run, run->valid < run->run->n_messages ? ERR_INVALID : ERR_OK);
    }
}

static enum err collect(struct append *append, size_t from) {
    for (size_t i = 0; i < append->place_count; i++) {
        append->places[i].planned = append->places[i].known;
    }
    for (size_t i = from; i < append->run_count && has_room(append); i++) {
        struct run *run = &append->runs[i];
        enum err error = ERR_OK;
        if (run->checked && !run->done) { /* continued: what follows its documents counts on it */
            run->place->planned += run->valid - run->result->stored_count;
        } else if (!run->done) {
            error = check_run(append, run);
        }
        if (error == ERR_MORE) {
            return ERR_OK;
        }
        if (error == ERR_OK && !run->done) {
            error = collect_run(append, run);
            complete_run(run); /* an empty run is stored already */
        }
        if (error != ERR_OK) {
            return error;
        }
    }
    return ERR_OK;
}

static void note_stored(struct append *append, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct run *run = append->sources[i].run;
        const Pipit__StoredMessage *message = append->sources[i].message;
        struct place *place = run->place;
        run->result->stored_count++;
        place->known = message->seq;
        place->touched = true;
        place->ts_ms = message->ts_ms > place->ts_ms ? message->ts_ms : place->ts_ms;
        mongo_heads_learn(&append->self->heads, place->id, place->known);
        complete_run(run);
    }
    append->stored += count;
}

/* The id's place, copied to the reply; a reply without room for it refuses its batch alone. */
static enum err tell_existing(struct run *run, const struct mongo_stored_at *at) {
    Pipit__AppendResult *result = run->result;
    struct arena *arena = run->item->arena;
    char *conversation = arena_copy(arena, at->conversation, strlen(at->conversation));
    char *sender = arena_copy(arena, at->sender, strlen(at->sender));
    if (conversation == NULL || sender == NULL) {
        run->item->reply->error = ERR_NO_MEMORY;
        return ERR_OK;
    }
    result->existing_conversation = conversation;
    result->existing_sender = sender;
    result->existing_seq = at->seq;
    result->existing_ts_ms = at->ts_ms;
    run->elsewhere = mem_alloc(sizeof(*run->elsewhere));
    if (run->elsewhere == NULL) {
        return ERR_NO_MEMORY;
    }
    *run->elsewhere = *at;
    return ERR_OK;
}

static enum err explain_duplicate(struct append *append, const struct document *source) {
    struct run *run = source->run;
    struct mongo_stored_at at;
    enum err error = mongo_log_find_id(&append->session, &source->message->id, &at);
    bool known_id = error == ERR_OK;
    if (error == ERR_OK) {
        error = tell_existing(run, &at);
    } else if (error == ERR_NOT_FOUND) {
        error = ERR_OK;
    }
    if (error == ERR_OK) {
        error = load_tail(append, run->place);
    }
    if (error == ERR_OK && !known_id && run->place->known < source->message->seq) {
        error = ERR_UNAVAILABLE; /* refused, but by nothing that is durable yet */
    }
    if (error == ERR_OK) {
        end_run(run, known_id ? ERR_DUPLICATE_ID : ERR_DUPLICATE_SEQ);
    }
    return error;
}

static enum err store_documents(struct append *append) {
    size_t inserted = 0;
    uint64_t begin_us = clock_mono_us();
    enum err error =
        mongo_insert(&append->session, MONGO_MESSAGES, (const bson_t *const *)append->documents,
                     append->document_count, &inserted);
    if (error == ERR_OK) {
        storage_metrics_commit(clock_mono_us() - begin_us);
    }
    note_stored(append, inserted);
    if (error == ERR_EXISTS) {
        error = explain_duplicate(append, &append->sources[inserted]);
    }
    /* What was not stored is collected again. */
    for (size_t i = 0; i < append->document_count; i++) {
        struct run *run = append->sources[i].run;
        run->collected = run->result->stored_count;
        if (!run->done && run->collected == 0) {
            run->checked = false;
        }
    }
    destroy_documents(append);
    return error;
}

static enum err store_all(struct append *append) {
    enum err error = ERR_OK;
    size_t from = 0;
    while (from < append->run_count && error == ERR_OK) {
        error = collect(append, from);
        if (error == ERR_OK && append->document_count > 0) {
            error = store_documents(append);
        }
        while (from < append->run_count && append->runs[from].done) {
            from++;
        }
    }
    return error;
}

/* --- afterwards */

static enum err raise_heads(struct append *append) {
    struct mongo_head *heads =
        mem_alloc((append->place_count + append->run_count) * sizeof(*heads));
    size_t count = 0;
    if (heads == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < append->place_count; i++) {
        const struct place *place = &append->places[i];
        if (place->touched) {
            heads[count++] = (struct mongo_head){place->id, place->known, place->ts_ms};
        }
    }
    for (size_t i = 0; i < append->run_count; i++) {
        const struct mongo_stored_at *at = append->runs[i].elsewhere;
        if (at != NULL) {
            heads[count++] = (struct mongo_head){at->conversation, at->seq, at->ts_ms};
        }
    }
    enum err error = mongo_heads_raise(&append->session, heads, count);
    mem_free(heads);
    return error;
}

static enum err read_versions(struct append *append) {
    const char **ids = mem_alloc(append->place_count * sizeof(*ids));
    uint64_t *versions = mem_alloc(append->place_count * sizeof(*versions));
    size_t count = 0;
    enum err error = ids == NULL || versions == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t i = 0; i < append->place_count && error == ERR_OK; i++) {
        if (append->places[i].exists) {
            ids[count++] = append->places[i].id;
        }
    }
    if (error == ERR_OK && count > 0) {
        error = mongo_versions(&append->session, ids, count, versions);
    }
    count = 0;
    for (size_t i = 0; i < append->place_count && error == ERR_OK; i++) {
        if (append->places[i].exists) {
            append->places[i].version = versions[count++];
            if (append->places[i].version == 0) {
                mongo_heads_clear(&append->self->heads); /* not the database that we knew */
                error = ERR_UNAVAILABLE;
            }
        }
    }
    mem_free(versions);
    mem_free(ids);
    return error;
}

static enum err append_all(struct append *append) {
    enum err error = load_places(append);
    if (error == ERR_OK) {
        error = store_all(append);
    }
    if (error == ERR_OK) {
        error = raise_heads(append);
    }
    if (error == ERR_OK) {
        error = read_versions(append);
    }
    for (size_t i = 0; i < append->run_count && error == ERR_OK; i++) {
        append->runs[i].result->members_version = append->runs[i].place->version;
    }
    return error;
}

enum err mongo_append(struct store *store, const struct store_append *items, size_t count) {
    struct append append = {.self = mongo_store_of(store)};
    enum err error = prepare(&append, items, count);
    if (error == ERR_OK && append.run_count > 0) {
        error = mongo_begin(append.self->db, &append.session);
        if (error == ERR_OK) {
            error = append_all(&append);
            mongo_end(&append.session);
        }
    }
    if (error != ERR_OK && append.stored > 0) {
        error = ERR_UNAVAILABLE; /* not nothing, so the caller must repeat it */
    }
    for (size_t i = 0; i < count; i++) {
        if (error != ERR_OK || items[i].reply->error != ERR_OK) {
            items[i].reply->n_results = 0; /* nothing of a refused batch may look like success */
        }
    }
    finish(&append);
    return error;
}
