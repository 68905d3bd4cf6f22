/* openapi: the description of the REST API, served as it lies on disk. */
#ifndef PIPIT_AUTH_OPENAPI_H
#define PIPIT_AUTH_OPENAPI_H

#include "common/buf.h"

#define OPENAPI_BYTES_MAX (4u * 1024u * 1024u)

struct openapi {
    struct buf yaml, json; /* empty when the file is not there */
};
/* Reads yaml_path and its sibling that ends in .json. A file that is missing is logged and stays
 * empty: the API works without its description. ERR_NO_MEMORY. Blocks. */
enum err openapi_load(const char *yaml_path, struct openapi **out) MUST_CHECK;
void openapi_destroy(struct openapi **openapi);

#endif
