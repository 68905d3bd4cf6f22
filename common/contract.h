/* contract: assertions that stay on in release builds. Assert what we promise; validate what peers
 * send. A failed contract prints file, line and condition to stderr and aborts: a wrong process
 * must not go on acknowledging messages. */
#ifndef PIPIT_COMMON_CONTRACT_H
#define PIPIT_COMMON_CONTRACT_H

#include <stddef.h>

#define CONTRACT(condition)                                                                        \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            contract_failed(#condition, __FILE__, __LINE__);                                       \
        }                                                                                          \
    } while (0)

/* Recovers the struct that embeds `member` from a pointer to that member. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

_Noreturn void contract_failed(const char *condition, const char *file, int line);

#endif
