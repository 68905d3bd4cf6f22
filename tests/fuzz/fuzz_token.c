/* fuzz_token: access tokens as strangers send them: shape, base64url, JSON header and claims. The
 * key is a real point on the curve, so everything up to the signature runs. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/contract.h"
#include "common/token.h"

/* The generator of P-256. Source: SEC 2 section 2.4.2. */
static const uint8_t x[32] = {0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6,
                              0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb,
                              0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96};
static const uint8_t y[32] = {0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb,
                              0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31,
                              0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct token_keys *keys;
    if (keys == NULL) {
        CONTRACT(token_keys_create("pipit", "pipit", &keys) == ERR_OK);
        CONTRACT(token_keys_add(keys, "k1", x, y) == ERR_OK);
    }
    char *exact = malloc(size == 0 ? 1 : size);
    CONTRACT(exact != NULL);
    memcpy(exact, data, size);
    struct token_claims claims;
    /* Nobody holds the private key: whatever is accepted is a defect. */
    CONTRACT(token_verify(keys, exact, size, 1795267055000u, &claims) != ERR_OK);
    free(exact);
    return 0;
}
