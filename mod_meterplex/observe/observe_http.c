/* observe_http.c: /health/live, /health/ready, /health and /metrics. All answer from memory, at once, whatever hangs. */
#include "observe_private.h"

#include "apr_strings.h"

static const char *const state_names[] = { "ok", "degraded", "down" };

/* The process answers: that is all. */
apr_status_t observe_get_live(mpx_http_t *http)
{
    mpx_jsonw_t *w = mpx_jsonw_make(http->call->pool);
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "status", "ok");
    mpx_jsonw_end(w);
    return mpx_reply_json(http, HTTP_OK, w);
}

typedef struct walk {
    mpx_jsonw_t *w;
    mpx_health_e worst;
} walk_t;

static void visit_part(const char *part, mpx_health_e state, const char *detail, void *baton)
{
    walk_t *walk = baton;
    mpx_jsonw_key(walk->w, part);
    mpx_jsonw_object(walk->w);
    mpx_jsonw_member_string(walk->w, "status", state_names[state]);
    if (detail) {
        mpx_jsonw_member_string(walk->w, "detail", detail);
    }
    mpx_jsonw_end(walk->w);
    if (state > walk->worst) {
        walk->worst = state;
    }
}

static mpx_health_e compose(mpx_http_t *http, mpx_jsonw_t **out)
{
    walk_t walk = { mpx_jsonw_make(http->call->pool), MPX_HEALTH_OK };
    mpx_jsonw_t *parts = walk.w, *w = mpx_jsonw_make(http->call->pool);
    apr_size_t len;
    const char *text;

    mpx_jsonw_object(parts);
    mpx_health_walk(http->call->pool, visit_part, &walk);
    mpx_jsonw_end(parts);
    text = mpx_jsonw_text(parts, &len);
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "status", state_names[walk.worst]);
    mpx_jsonw_member_raw(w, "parts", text, len);
    mpx_jsonw_end(w);
    *out = w;
    return walk.worst;
}

/* Every part, and the worst of them: 503 only when one is down. */
apr_status_t observe_get_health(mpx_http_t *http)
{
    mpx_jsonw_t *w;

    if (compose(http, &w) == MPX_HEALTH_DOWN) {
        apr_table_setn(http->r->err_headers_out, "Retry-After", "1");
        return mpx_reply_json(http, HTTP_SERVICE_UNAVAILABLE, w);
    }
    return mpx_reply_json(http, HTTP_OK, w);
}

/* Should a balancer send work here? The same question; the answer is short. */
apr_status_t observe_get_ready(mpx_http_t *http)
{
    mpx_jsonw_t *parts, *w = mpx_jsonw_make(http->call->pool);
    int down = compose(http, &parts) == MPX_HEALTH_DOWN;

    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "status", down ? "down" : "ok");
    mpx_jsonw_end(w);
    if (down) {
        apr_table_setn(http->r->err_headers_out, "Retry-After", "1");
    }
    return mpx_reply_json(http, down ? HTTP_SERVICE_UNAVAILABLE : HTTP_OK, w);
}
