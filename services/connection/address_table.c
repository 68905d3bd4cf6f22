/* address_table: connections per client address.
 *
 * One table for all event loops, because SO_REUSEPORT spreads the connections of one address over
 * them. It is locked once when a socket is accepted and once when it is closed, never per message,
 * so a mutex is enough. An entry exists only while its address has connections: a scan from many
 * addresses leaves nothing behind. The keys are hashed with a random key per process (common/map),
 * so nobody can aim for one chain. */
#include "services/connection/address_table.h"

#include "common/contract.h"
#include "common/map.h"
#include "common/mem.h"

#include <netinet/in.h>
#include <pthread.h>
#include <string.h>

#define ADDRESS_KEY_BYTES 9 /* family mark and up to 8 bytes of address */
#define ADDRESS_V6_BYTES 8  /* a /64: what one customer gets (RFC 6177) */

struct address_entry {
    struct map_node node;
    uint8_t key[ADDRESS_KEY_BYTES];
    uint64_t count;
};
struct address_table {
    pthread_mutex_t lock;
    struct map entries;
};

static bool entry_matches(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct address_entry *entry = CONTAINER_OF(node, struct address_entry, node);
    return memcmp(entry->key, key, key_bytes) == 0;
}

enum err address_table_create(struct address_table **out) {
    struct address_table *table = mem_zalloc(1, sizeof *table);
    if (table == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = map_init(&table->entries, 64, entry_matches);
    if (error != ERR_OK) {
        mem_free(table);
        return error;
    }
    pthread_mutex_init(&table->lock, NULL);
    *out = table;
    return ERR_OK;
}

void address_table_destroy(struct address_table **table) {
    struct address_table *gone = *table;
    if (gone == NULL) {
        return;
    }
    *table = NULL;
    CONTRACT(gone->entries.count == 0);
    map_finish(&gone->entries);
    pthread_mutex_destroy(&gone->lock);
    mem_free(gone);
}

static void make_key(const struct sockaddr *peer, uint8_t key[ADDRESS_KEY_BYTES]) {
    memset(key, 0, ADDRESS_KEY_BYTES);
    if (peer->sa_family == AF_INET) {
        key[0] = 4;
        memcpy(key + 1, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(v6)) {
            key[0] = 4;
            memcpy(key + 1, &v6->s6_addr[12], 4);
        } else {
            key[0] = 6;
            memcpy(key + 1, v6->s6_addr, ADDRESS_V6_BYTES);
        }
    }
}

static enum err enter_locked(struct address_table *table, const uint8_t key[ADDRESS_KEY_BYTES],
                             uint64_t count_max, struct address_entry **out) {
    struct map_node *node = map_find(&table->entries, key, ADDRESS_KEY_BYTES);
    struct address_entry *entry = NULL;
    if (node != NULL) {
        entry = CONTAINER_OF(node, struct address_entry, node);
        if (entry->count >= count_max) {
            return ERR_FULL;
        }
    } else {
        entry = mem_zalloc(1, sizeof *entry);
        if (entry == NULL) {
            return ERR_NO_MEMORY;
        }
        memcpy(entry->key, key, ADDRESS_KEY_BYTES);
        map_insert(&table->entries, &entry->node, key, ADDRESS_KEY_BYTES);
    }
    entry->count++;
    *out = entry;
    return ERR_OK;
}

enum err address_table_enter(struct address_table *table, const struct sockaddr *peer,
                             uint64_t count_max, struct address_entry **entry) {
    CONTRACT(count_max > 0);
    uint8_t key[ADDRESS_KEY_BYTES];
    make_key(peer, key);
    pthread_mutex_lock(&table->lock);
    enum err error = enter_locked(table, key, count_max, entry);
    pthread_mutex_unlock(&table->lock);
    return error;
}

void address_table_leave(struct address_table *table, struct address_entry **entry) {
    struct address_entry *left = *entry;
    if (left == NULL) {
        return;
    }
    *entry = NULL;
    pthread_mutex_lock(&table->lock);
    CONTRACT(left->count > 0);
    left->count--;
    bool last = left->count == 0;
    if (last) {
        map_remove(&table->entries, &left->node);
    }
    pthread_mutex_unlock(&table->lock);
    if (last) {
        mem_free(left);
    }
}

size_t address_table_count(struct address_table *table) {
    pthread_mutex_lock(&table->lock);
    size_t count = table->entries.count;
    pthread_mutex_unlock(&table->lock);
    return count;
}
