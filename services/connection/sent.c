/* sent: a direct-mapped table, one store per message sent and one load per message repaired. A slot
 * is overwritten by the next id that maps to it. Ids are chosen by clients, who may make them
 * collide: that costs them an echo of their own message and nobody else anything. The last bytes of
 * a UUIDv7 are its random part. */
#include "services/connection/sent.h"

#include <string.h>

static size_t slot_of(const uint8_t id[ID_UUID_BYTES]) {
    uint64_t random = 0;
    memcpy(&random, id + 8, sizeof random);
    return (size_t)((random * 0x9E3779B97F4A7C15u) >> 51u) & (HUB_SENT_SLOTS - 1);
}

void hub_sent_add(struct hub_sent *sent, const uint8_t id[ID_UUID_BYTES], uint64_t session) {
    size_t slot = slot_of(id);
    memcpy(sent->slots[slot].id, id, ID_UUID_BYTES);
    sent->slots[slot].session = session;
}

uint64_t hub_sent_session(const struct hub_sent *sent, const uint8_t id[ID_UUID_BYTES]) {
    size_t slot = slot_of(id);
    return memcmp(sent->slots[slot].id, id, ID_UUID_BYTES) == 0 ? sent->slots[slot].session : 0;
}
