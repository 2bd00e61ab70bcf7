/* core_call.c: what a call makes: ids. The kernel's randomness and the call's clock. */
#include "../include/meterplex_call.h"

#include <sodium.h>

mpx_uuid_t mpx_call_new_id(mpx_call_t *call)
{
    mpx_uuid_t id;
    unsigned char random[8];

    randombytes_buf(random, sizeof random);
    mpx_uuid_v7(&id, apr_time_now(), random);
    return id;
}
