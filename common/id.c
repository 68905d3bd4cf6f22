/* id: identifiers and randomness, all from libsodium.
 *
 * A message id is the idempotency key and the primary key, so it must be unique without asking
 * anybody and sort by time, so that the index stays append-mostly: UUIDv7. Within one thread and
 * millisecond the 12 bits of rand_a count up from a random start below 2048; when they are used up
 * the time field borrows the next millisecond. The other 62 bits are random, taken from a small
 * pool per thread because one system call an id would cost more than the id. Random values that
 * protect something (tokens, keys) never come from that pool. */
#include "common/id.h"

#include "common/contract.h"
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define ID_POOL_BYTES 320u /* 32 ids of 10 bytes a system call */
#define ID_TEXT_RANDOM_BYTES 10u

struct uuid_state {
    uint64_t asked_ms; /* the caller's time of the last id */
    uint64_t used_ms;  /* the time written into it; ahead of asked_ms after a rollover */
    uint16_t counter;
    uint8_t pool[ID_POOL_BYTES];
    size_t pool_left;
};

static _Thread_local struct uuid_state uuid_state;
static pthread_once_t sodium_once = PTHREAD_ONCE_INIT;

static void start_sodium(void) {
    CONTRACT(sodium_init() >= 0);
}

void id_random(void *bytes, size_t count) {
    (void)pthread_once(&sodium_once, start_sodium); /* cannot fail with a valid control */
    randombytes_buf(bytes, count);
}

uint64_t id_random_u64(void) {
    uint64_t value = 0;
    id_random(&value, sizeof(value));
    return value;
}

static void take_pool(struct uuid_state *state, uint8_t *bytes, size_t count) {
    if (state->pool_left < count) {
        id_random(state->pool, sizeof(state->pool));
        state->pool_left = sizeof(state->pool);
    }
    state->pool_left -= count;
    memcpy(bytes, state->pool + state->pool_left, count);
}

/* Chooses the time and counter of the next id. */
static void advance(struct uuid_state *state, uint64_t wall_ms, uint16_t seed) {
    bool continues =
        wall_ms == state->asked_ms || (wall_ms > state->asked_ms && wall_ms <= state->used_ms);
    state->asked_ms = wall_ms;
    if (!continues) {
        state->used_ms = wall_ms;
        state->counter = seed & 0x7ffu;
    } else if (state->counter < 0xfffu) {
        state->counter++;
    } else {
        state->used_ms++;
        state->counter = seed & 0x7ffu;
    }
}

void id_uuid7_make(uint64_t wall_ms, uint8_t uuid[ID_UUID_BYTES]) {
    uint8_t random[10];
    take_pool(&uuid_state, random, sizeof(random));
    uint64_t asked = wall_ms & 0xffffffffffffu;
    advance(&uuid_state, asked, (uint16_t)(random[0] << 8 | random[1]));
    for (unsigned i = 0; i < 6; i++) {
        uuid[i] = (uint8_t)(uuid_state.used_ms >> (40 - 8 * i));
    }
    uuid[6] = (uint8_t)(0x70u | (uuid_state.counter >> 8));
    uuid[7] = (uint8_t)uuid_state.counter;
    memcpy(uuid + 8, random + 2, 8);
    uuid[8] = (uint8_t)((uuid[8] & 0x3fu) | 0x80u);
}

static int hex_value(char character) {
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    if (character >= 'a' && character <= 'f') {
        return character - 'a' + 10;
    }
    if (character >= 'A' && character <= 'F') {
        return character - 'A' + 10;
    }
    return -1;
}

static bool hyphen_at(size_t index) {
    return index == 8 || index == 13 || index == 18 || index == 23;
}

enum err id_uuid7_parse(const char *text, size_t text_bytes, uint8_t uuid[ID_UUID_BYTES]) {
    uint8_t parsed[ID_UUID_BYTES];
    size_t count = 0;
    if (text_bytes != ID_UUID_TEXT_BYTES - 1) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < text_bytes;) {
        if (hyphen_at(i)) {
            if (text[i] != '-') {
                return ERR_INVALID;
            }
            i++;
            continue;
        }
        int high = hex_value(text[i]);
        int low = hex_value(text[i + 1]);
        if (high < 0 || low < 0) {
            return ERR_INVALID;
        }
        parsed[count++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    if ((parsed[6] & 0xf0u) != 0x70u || (parsed[8] & 0xc0u) != 0x80u) {
        return ERR_INVALID;
    }
    memcpy(uuid, parsed, sizeof(parsed));
    return ERR_OK;
}

void id_uuid_format(const uint8_t uuid[ID_UUID_BYTES], char text[ID_UUID_TEXT_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < ID_UUID_BYTES; i++) {
        if (hyphen_at(at)) {
            text[at++] = '-';
        }
        text[at++] = digits[uuid[i] >> 4];
        text[at++] = digits[uuid[i] & 0x0fu];
    }
    text[at] = '\0';
}

uint64_t id_uuid7_wall_ms(const uint8_t uuid[ID_UUID_BYTES]) {
    uint64_t wall_ms = 0;
    for (size_t i = 0; i < 6; i++) {
        wall_ms = wall_ms << 8 | uuid[i];
    }
    return wall_ms;
}

void id_base32(const uint8_t *bytes, size_t count, char *text) {
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint32_t bits = 0; /* the last `held` bits are not yet written */
    unsigned held = 0;
    for (size_t i = 0; i < count; i++) {
        bits = (bits << 8 | bytes[i]) & 0xffffu;
        held += 8;
        while (held >= 5) {
            held -= 5;
            *text++ = digits[bits >> held & 31u];
        }
    }
    if (held > 0) {
        *text++ = digits[bits << (5 - held) & 31u];
    }
    *text = '\0';
}

void id_random_text(const char *prefix, char *text, size_t text_bytes) {
    size_t prefix_bytes = strlen(prefix);
    CONTRACT(text_bytes >= prefix_bytes + 17);
    uint8_t random[ID_TEXT_RANDOM_BYTES];
    id_random(random, sizeof(random));
    memcpy(text, prefix, prefix_bytes);
    id_base32(random, sizeof(random), text + prefix_bytes);
}
