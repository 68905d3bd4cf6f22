/* shim: makes a service speak on the bus as another version of it would (LD_PRELOAD; tests alone).
 *
 * Stands in front of libprotobuf-c's packing: what a service sends is packed by the library and
 * then rewritten (tests/unit/proto/support_wire.h) as the environment says:
 *   WIRE_LATER=1                          adds unknown fields to every message, at every depth
 *   WIRE_LEAVES="Message.field ..."       leaves these fields out
 *   WIRE_MISSING=20 WIRE_ENUMS=20         of 1,000 fields so many are missing, or so many enums
 *                                         have a value that nobody knows; WIRE_SEED chooses which
 * Packing is always asked for its size first and for the bytes then, by the same thread; the
 * rewritten bytes wait in between. Calls that the library makes to itself go through untouched.
 * Whatever fails here ends the process: a test must not go on with half a version. */
#include "tests/unit/proto/support_wire.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct waiting { /* of one thread */
    const ProtobufCMessage *message;
    struct wire_bytes packed;
    uint64_t random;
    bool inside; /* the library calls itself */
};
static size_t (*real_size)(const ProtobufCMessage *message);
static size_t (*real_pack)(const ProtobufCMessage *message, uint8_t *out);
static struct wire_rules rules;
static uint64_t seed;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

size_t protobuf_c_message_get_packed_size(const ProtobufCMessage *message);
size_t protobuf_c_message_pack(const ProtobufCMessage *message, uint8_t *out);

static void need(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "wire shim: %s\n", what);
        abort();
    }
}

static void forget(void *thread) {
    struct waiting *waiting = thread;
    wire_bytes_finish(&waiting->packed);
    free(waiting);
}

static uint64_t number(const char *name) {
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

static void prepare(void) {
    void *size = dlsym(RTLD_NEXT, "protobuf_c_message_get_packed_size");
    void *pack = dlsym(RTLD_NEXT, "protobuf_c_message_pack");
    need(size != NULL && pack != NULL, "no libprotobuf-c behind it");
    memcpy(&real_size, &size, sizeof size); /* ISO C has no cast from object to function pointer */
    memcpy(&real_pack, &pack, sizeof pack);
    rules.adds_unknown = number("WIRE_LATER") != 0;
    rules.leaves = getenv("WIRE_LEAVES");
    rules.missing_per_1000 = (uint32_t)number("WIRE_MISSING");
    rules.enums_per_1000 = (uint32_t)number("WIRE_ENUMS");
    seed = number("WIRE_SEED");
    need(pthread_key_create(&key, forget) == 0, "no thread key");
}

static struct waiting *of_thread(void) {
    need(pthread_once(&once, prepare) == 0, "not prepared");
    struct waiting *waiting = pthread_getspecific(key);
    if (waiting == NULL) {
        waiting = calloc(1, sizeof *waiting);
        need(waiting != NULL && pthread_setspecific(key, waiting) == 0, "no memory");
        waiting->random = seed * 2654435761u + 88172645463325252u; /* not 0 for xorshift */
    }
    return waiting;
}

size_t protobuf_c_message_get_packed_size(const ProtobufCMessage *message) {
    struct waiting *waiting = of_thread();
    if (waiting->inside) {
        return real_size(message);
    }
    waiting->inside = true;
    size_t bytes = real_size(message);
    uint8_t *packed = malloc(bytes + 1);
    need(packed != NULL && real_pack(message, packed) == bytes, "packing failed");
    waiting->inside = false;
    struct wire_rules own = rules;
    own.random = &waiting->random;
    waiting->message = message;
    waiting->packed.count = 0;
    need(wire_rewrite(message->descriptor, packed, bytes, &own, &waiting->packed),
         "rewriting failed");
    free(packed);
    return waiting->packed.count;
}

size_t protobuf_c_message_pack(const ProtobufCMessage *message, uint8_t *out) {
    struct waiting *waiting = of_thread();
    if (waiting->inside) {
        return real_pack(message, out);
    }
    need(waiting->message == message, "packed without asking for the size");
    memcpy(out, waiting->packed.bytes != NULL ? waiting->packed.bytes : out, waiting->packed.count);
    waiting->message = NULL;
    return waiting->packed.count;
}
