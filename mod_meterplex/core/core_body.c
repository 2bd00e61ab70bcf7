/* core_body.c: a request's body: media type, size, bytes. */
#include "core_private.h"

#include "apr_lib.h"
#include "apr_strings.h"

#define BLOCK 65536

/* Media type in lower case without parameters; charset, when there is one, must be UTF-8. */
static apr_status_t read_media_type(mpx_http_t *http)
{
    const char *given = apr_table_get(http->r->headers_in, "Content-Type"), *coding, *charset;
    char *type;
    apr_size_t len;

    coding = apr_table_get(http->r->headers_in, "Content-Encoding");
    if (coding && ap_cstr_casecmp(coding, "identity") != 0) {
        return mpx_fail(http->call, MPX_P_UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not accepted in requests.");
    }
    if (given == NULL) {
        return APR_SUCCESS;
    }
    len = strcspn(given, "; \t");
    type = apr_pstrmemdup(http->call->pool, given, len);
    ap_str_tolower(type);
    http->media_type = type;
    charset = ap_strcasestr(given + len, "charset=");
    if (charset) {
        charset += 8 + (charset[8] == '"');
        if (ap_cstr_casecmpn(charset, "utf-8", 5) != 0 || (charset[5] && !strchr("\"; \t", charset[5]))) {
            return mpx_fail(http->call, MPX_P_UNSUPPORTED_MEDIA_TYPE, "Text must be UTF-8.");
        }
    }
    return APR_SUCCESS;
}

static apr_status_t too_large(mpx_http_t *http, apr_size_t max)
{
    return mpx_fail(http->call, MPX_P_PAYLOAD_TOO_LARGE,
                    "The body is larger than the %" APR_SIZE_T_FMT " bytes allowed here.", max);
}

static apr_status_t transfer_failed(mpx_http_t *http, apr_status_t rv, apr_size_t max)
{
    int status = ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
    http->r->connection->keepalive = AP_CONN_CLOSE;
    if (status == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        return too_large(http, max);
    }
    if (APR_STATUS_IS_TIMEUP(rv)) {
        return mpx_fail(http->call, MPX_P_REQUEST_TIMEOUT, "The body did not arrive in time.");
    }
    return mpx_fail(http->call, MPX_P_BAD_REQUEST, "The body did not arrive whole.");
}

/* Append a brigade's data to the growing body. @return 0 when it grows past max */
static int append(mpx_http_t *http, char **buffer, apr_size_t *size, const char *data, apr_size_t len, apr_size_t max)
{
    if (http->body_len + len > max) {
        return 0;
    }
    if (http->body_len + len + 1 > *size) {
        apr_size_t bigger = (http->body_len + len + 1) * 2;
        char *fresh = apr_palloc(http->call->pool, bigger);
        memcpy(fresh, *buffer, http->body_len);
        *buffer = fresh;
        *size = bigger;
    }
    memcpy(*buffer + http->body_len, data, len);
    http->body_len += len;
    return 1;
}

static apr_status_t read_bytes(mpx_http_t *http, apr_size_t max, apr_size_t hint)
{
    request_rec *r = http->r;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_size_t size = hint + 1, len;
    char *buffer = apr_palloc(http->call->pool, size);
    int seen_eos = 0;

    while (!seen_eos) {
        apr_bucket *b;
        apr_status_t rv = ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES, APR_BLOCK_READ, BLOCK);
        if (rv != APR_SUCCESS) {
            return transfer_failed(http, rv, max);
        }
        for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb); b = APR_BUCKET_NEXT(b)) {
            const char *data;
            if (APR_BUCKET_IS_EOS(b)) {
                seen_eos = 1;
                break;
            }
            if (APR_BUCKET_IS_METADATA(b)) {
                continue;
            }
            rv = apr_bucket_read(b, &data, &len, APR_BLOCK_READ);
            if (rv != APR_SUCCESS) {
                return transfer_failed(http, rv, max);
            }
            if (!append(http, &buffer, &size, data, len, max)) {
                r->connection->keepalive = AP_CONN_CLOSE; /* the rest is not worth reading */
                return too_large(http, max);
            }
        }
        apr_brigade_cleanup(bb);
    }
    buffer[http->body_len] = '\0';
    http->body = buffer;
    return APR_SUCCESS;
}

apr_status_t core_body_read(mpx_http_t *http)
{
    const core_config_t *config = core_config();
    apr_size_t max = http->route->flags & MPX_ROUTE_EVENTS ? config->events_body_max : config->body_max;
    const char *length = apr_table_get(http->r->headers_in, "Content-Length");
    apr_int64_t announced = length ? apr_atoi64(length) : 0;
    apr_status_t rv = read_media_type(http);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (announced > (apr_int64_t)max) {
        http->r->connection->keepalive = AP_CONN_CLOSE;
        return too_large(http, max);
    }
    rv = read_bytes(http, max, announced > 0 ? (apr_size_t)announced : 4096);
    if (rv != APR_SUCCESS || http->route->flags & MPX_ROUTE_ANY_MEDIA) {
        return rv;
    }
    if (http->body_len == 0) {
        return http->route->flags & MPX_ROUTE_NO_BODY
            ? APR_SUCCESS
            : mpx_fail(http->call, MPX_P_BAD_JSON, "The request has no body; JSON is expected.");
    }
    if (http->media_type == NULL || strcmp(http->media_type, "application/json") != 0) {
        return mpx_fail(http->call, MPX_P_UNSUPPORTED_MEDIA_TYPE, "The body must be sent as application/json.");
    }
    return APR_SUCCESS;
}
