/* core_db_param.c: parameters of statements. Binary where text would cost a conversion or a rounding: uuid, timestamptz,
 * int8, bytea, and arrays for set-wise statements. Formats: PostgreSQL's src/backend/utils/adt send functions, documented
 * as the types' binary representation; type oids are fixed in pg_type.dat.
 */
#include "core_db.h"

#include <string.h>

#include <apr_strings.h>

#define OID_BOOL 16
#define OID_BYTEA 17
#define OID_INT8 20
#define OID_TEXT 25
#define OID_BYTEA_ARRAY 1001
#define OID_TEXT_ARRAY 1009
#define OID_INT8_ARRAY 1016
#define OID_TIMESTAMPTZ 1184
#define OID_TIMESTAMPTZ_ARRAY 1185
#define OID_UUID 2950
#define OID_UUID_ARRAY 2951

/* PostgreSQL counts from 2000-01-01 */
#define PG_EPOCH_US APR_INT64_C(946684800000000)

static void put32(char *out, apr_uint32_t v)
{
    out[0] = (char)(v >> 24);
    out[1] = (char)(v >> 16);
    out[2] = (char)(v >> 8);
    out[3] = (char)v;
}

static void put64(char *out, apr_uint64_t v)
{
    put32(out, (apr_uint32_t)(v >> 32));
    put32(out + 4, (apr_uint32_t)v);
}

static mpx_param_t binary(unsigned oid, const void *value, apr_size_t len)
{
    mpx_param_t p;
    p.oid = oid;
    p.value = value;
    p.len = len;
    return p;
}

mpx_param_t mpx_param_text(const char *value)
{
    return binary(0, value, 0);
}

mpx_param_t mpx_param_int(apr_pool_t *pool, apr_int64_t value)
{
    char *out = apr_palloc(pool, 8);
    put64(out, (apr_uint64_t)value);
    return binary(OID_INT8, out, 8);
}

mpx_param_t mpx_param_bool(int value)
{
    return binary(OID_BOOL, value ? "\1" : "\0", 1);
}

mpx_param_t mpx_param_uuid(const mpx_uuid_t *value)
{
    return binary(OID_UUID, value ? (const char *)value->b : NULL, 16);
}

mpx_param_t mpx_param_time(apr_pool_t *pool, apr_time_t value)
{
    char *out = apr_palloc(pool, 8);
    put64(out, (apr_uint64_t)(value - PG_EPOCH_US));
    return binary(OID_TIMESTAMPTZ, out, 8);
}

mpx_param_t mpx_param_bytes(const void *value, apr_size_t len)
{
    return binary(OID_BYTEA, value, len);
}

struct mpx_param_array {
    apr_pool_t *pool;
    mpx_array_type_e type;
    char *buffer;
    apr_size_t used, size;
    int count, nulls;
};

#define ARRAY_HEADER 20

mpx_param_array_t *mpx_param_array_make(apr_pool_t *pool, mpx_array_type_e type, apr_size_t bytes_hint)
{
    mpx_param_array_t *array = apr_pcalloc(pool, sizeof *array);
    array->pool = pool;
    array->type = type;
    array->size = ARRAY_HEADER + (bytes_hint < 256 ? 256 : bytes_hint);
    array->buffer = apr_palloc(pool, array->size);
    array->used = ARRAY_HEADER;
    return array;
}

/* Room for one element of len bytes after its length word. */
static char *element(mpx_param_array_t *array, apr_size_t len)
{
    char *at;
    if (array->used + 4 + len > array->size) {
        apr_size_t size = (array->used + 4 + len) * 2;
        char *bigger = apr_palloc(array->pool, size);
        memcpy(bigger, array->buffer, array->used);
        array->buffer = bigger;
        array->size = size;
    }
    at = array->buffer + array->used;
    put32(at, (apr_uint32_t)len);
    array->used += 4 + len;
    array->count++;
    return at + 4;
}

void mpx_param_array_text(mpx_param_array_t *array, const char *value, apr_size_t len)
{
    if (value == NULL) {
        put32(element(array, 0) - 4, 0xffffffffu);
        array->nulls = 1;
        return;
    }
    memcpy(element(array, len), value, len);
}

void mpx_param_array_uuid(mpx_param_array_t *array, const mpx_uuid_t *value)
{
    memcpy(element(array, 16), value->b, 16);
}

void mpx_param_array_int8(mpx_param_array_t *array, apr_int64_t value)
{
    put64(element(array, 8), (apr_uint64_t)value);
}

void mpx_param_array_time(mpx_param_array_t *array, apr_time_t value)
{
    put64(element(array, 8), (apr_uint64_t)(value - PG_EPOCH_US));
}

void mpx_param_array_bytes(mpx_param_array_t *array, const void *value, apr_size_t len)
{
    memcpy(element(array, len), value, len);
}

mpx_param_t mpx_param_array(mpx_param_array_t *array)
{
    static const unsigned elements[] = { OID_TEXT, OID_UUID, OID_INT8, OID_TIMESTAMPTZ, OID_BYTEA };
    static const unsigned arrays[] = { OID_TEXT_ARRAY, OID_UUID_ARRAY, OID_INT8_ARRAY, OID_TIMESTAMPTZ_ARRAY,
                                       OID_BYTEA_ARRAY };
    char *head = array->buffer;

    put32(head, array->count ? 1 : 0); /* dimensions */
    put32(head + 4, (apr_uint32_t)array->nulls);
    put32(head + 8, elements[array->type]);
    put32(head + 12, (apr_uint32_t)array->count);
    put32(head + 16, 1); /* lower bound */
    return binary(arrays[array->type], head, array->count ? array->used : 12);
}

mpx_param_t mpx_param_text_array(apr_pool_t *pool, const char *const *values, int n)
{
    mpx_param_array_t *array = mpx_param_array_make(pool, MPX_ARRAY_TEXT, 0);
    int i;
    for (i = 0; i < n; i++) {
        mpx_param_array_text(array, values[i], values[i] ? strlen(values[i]) : 0);
    }
    return mpx_param_array(array);
}
