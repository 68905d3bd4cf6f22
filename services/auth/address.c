/* address: all addresses are compared as 16 bytes, IPv4 as ::ffff:a.b.c.d, so one prefix comparison
 * serves both families and an IPv4 peer of a dual-stack socket needs no care. A header that does
 * not parse ends the walk: the last address that was believed stays. */
#include "services/auth/address.h"

#include "common/mem.h"
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct network {
    uint8_t bytes[16];
    unsigned prefix_bits; /* of the 16 bytes */
};
struct address_proxies {
    size_t count;
    struct network networks[ADDRESS_PROXIES_MAX];
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* True when text is a numeric address; *v4 tells the family. */
static bool parse(const char *text, uint8_t bytes[16], bool *v4) {
    memcpy(bytes, mapped_prefix, sizeof mapped_prefix);
    if (inet_pton(AF_INET, text, bytes + sizeof mapped_prefix) == 1) {
        *v4 = true;
        return true;
    }
    *v4 = false;
    if (inet_pton(AF_INET6, text, bytes) != 1) {
        return false;
    }
    *v4 = memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0;
    return true;
}

static bool inside(const struct network *network, const uint8_t bytes[16]) {
    size_t whole = network->prefix_bits / 8;
    unsigned rest = network->prefix_bits % 8;
    if (memcmp(network->bytes, bytes, whole) != 0) {
        return false;
    }
    return rest == 0 || (uint8_t)((network->bytes[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

static bool trusted(const struct address_proxies *proxies, const uint8_t bytes[16]) {
    for (size_t i = 0; i < proxies->count; i++) {
        if (inside(&proxies->networks[i], bytes)) {
            return true;
        }
    }
    return false;
}

/* "192.0.2.7" or "10.0.0.0/8". */
static bool parse_network(const char *entry, struct network *network) {
    char text[64];
    bool v4 = false;
    size_t length = strcspn(entry, "/");
    if (length >= sizeof text) {
        return false;
    }
    memcpy(text, entry, length);
    text[length] = '\0';
    if (!parse(text, network->bytes, &v4)) {
        return false;
    }
    network->prefix_bits = 128;
    if (entry[length] == '/') {
        const char *digits = entry + length + 1;
        char *end = NULL;
        unsigned long bits = digits[0] >= '0' && digits[0] <= '9' ? strtoul(digits, &end, 10) : 999;
        if (end == NULL || *end != '\0' || bits > (v4 ? 32u : 128u)) {
            return false;
        }
        network->prefix_bits = (unsigned)bits + (v4 ? 96u : 0u);
    }
    return true;
}

static enum err refuse(const char *entry, struct buf *problem) {
    enum err said = buf_append_format(
        problem, "[auth] trusted_proxies: \"%.64s\" is not an address or CIDR block", entry);
    return said == ERR_OK ? ERR_INVALID : said;
}

static enum err read_list(struct address_proxies *proxies, char *list, struct buf *problem) {
    char *rest = NULL;
    for (char *entry = strtok_r(list, ", \t", &rest); entry != NULL;
         entry = strtok_r(NULL, ", \t", &rest)) {
        if (proxies->count == ADDRESS_PROXIES_MAX) {
            return ERR_FULL;
        }
        if (!parse_network(entry, &proxies->networks[proxies->count])) {
            return refuse(entry, problem);
        }
        proxies->count++;
    }
    return ERR_OK;
}

enum err address_proxies_create(const char *list, struct address_proxies **out,
                                struct buf *problem) {
    struct address_proxies *proxies = mem_zalloc(1, sizeof *proxies);
    char *copy = mem_strdup(list);
    enum err error =
        proxies != NULL && copy != NULL ? read_list(proxies, copy, problem) : ERR_NO_MEMORY;
    mem_free(copy);
    if (error != ERR_OK) {
        mem_free(proxies);
        return error;
    }
    *out = proxies;
    return ERR_OK;
}

void address_proxies_destroy(struct address_proxies **proxies) {
    mem_free(*proxies);
    *proxies = NULL;
}

/* Cuts the last entry off list[*length] and parses it. */
static bool take_last(const char *list, size_t *length, uint8_t bytes[16], char text[64]) {
    size_t end = *length;
    while (end > 0 && (list[end - 1] == ' ' || list[end - 1] == '\t' || list[end - 1] == ',')) {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && list[begin - 1] != ',' && list[begin - 1] != ' ') {
        begin--;
    }
    bool v4 = false;
    if (end == begin || end - begin >= 64) {
        return false;
    }
    memcpy(text, list + begin, end - begin);
    text[end - begin] = '\0';
    *length = begin;
    return parse(text, bytes, &v4);
}

void address_client(const struct address_proxies *proxies, const char *peer, const char *forwarded,
                    char client[ADDRESS_BYTES]) {
    uint8_t bytes[16];
    char text[64];
    bool v4 = false;
    (void)snprintf(client, ADDRESS_BYTES, "%s", peer); /* a numeric address always fits */
    size_t length = forwarded != NULL ? strlen(forwarded) : 0;
    bool believed = parse(peer, bytes, &v4) && trusted(proxies, bytes);
    for (size_t i = 0; believed && i < ADDRESS_FORWARDED_MAX; i++) {
        if (!take_last(forwarded, &length, bytes, text)) {
            return;
        }
        (void)snprintf(client, ADDRESS_BYTES, "%.45s", text); /* parsed, so it is short enough */
        believed = trusted(proxies, bytes);
    }
}

void address_bucket(const char *client, char bucket[ADDRESS_BYTES]) {
    uint8_t bytes[16];
    bool v4 = false;
    if (parse(client, bytes, &v4) && !v4) {
        memset(bytes + 8, 0, 8);
        if (inet_ntop(AF_INET6, bytes, bucket, ADDRESS_BYTES) != NULL) {
            return;
        }
    }
    (void)snprintf(bucket, ADDRESS_BYTES, "%s", client);
}
