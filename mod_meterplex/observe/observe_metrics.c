/* observe_metrics.c: /metrics in the Prometheus text format 0.0.4, or OpenMetrics 1.0 where the scraper asks for it, and the
 * metrics of requests themselves.
 */
#include "observe_private.h"

#include "apr_strings.h"

static mpx_metric_t metric_requests[6], metric_duration, metric_bytes;

int observe_requests_open(apr_pool_t *pconf, server_rec *s)
{
    int class;
    for (class = 1; class <= 5; class ++) {
        metric_requests[class] = mpx_metric_counter("meterplex_http_requests_total", "Finished requests.",
                                                    apr_psprintf(pconf, "status=\"%dxx\"", class));
    }
    metric_duration = mpx_metric_histogram("meterplex_http_request_duration_seconds",
                                           "Time from a request's first line to its end.", NULL);
    metric_bytes = mpx_metric_counter("meterplex_http_response_bytes_total", "Bytes of bodies sent.", NULL);
    return OK;
}

int observe_log_transaction(request_rec *r)
{
    const request_rec *last = r;
    int class;

    while (last->next) {
        last = last->next;
    }
    class = last->status / 100;
    if (class >= 1 && class <= 5) {
        mpx_metric_add(metric_requests[class], 1);
    }
    mpx_metric_add(metric_bytes, (apr_uint64_t)(last->bytes_sent > 0 ? last->bytes_sent : 0));
    mpx_metric_observe(metric_duration, apr_time_now() - r->request_time);
    return DECLINED;
}

/* Text of one scrape; lines are appended as they come, chunks joined once at the end. */
typedef struct scrape {
    apr_pool_t *pool;
    apr_array_header_t *lines; /* const char * */
    const char *family;        /* name whose HELP and TYPE stand already */
    int openmetrics;
} scrape_t;

static void line(scrape_t *s, const char *text)
{
    APR_ARRAY_PUSH(s->lines, const char *) = text;
}

/* In OpenMetrics a counter's family is named without its _total. */
static const char *family_name(scrape_t *s, const mpx_metric_sample_t *sample)
{
    apr_size_t len = strlen(sample->name);
    if (s->openmetrics && strcmp(sample->type, "counter") == 0 && len > 6 && strcmp(sample->name + len - 6, "_total") == 0) {
        return apr_pstrmemdup(s->pool, sample->name, len - 6);
    }
    return sample->name;
}

static void write_histogram(scrape_t *s, const mpx_metric_sample_t *m)
{
    const char *labels = m->labels ? m->labels : "", *comma = m->labels ? "," : "";
    int b;

    for (b = 0; b < m->nbuckets; b++) {
        const char *le = b < m->nbuckets - 1 ? apr_psprintf(s->pool, "%g", m->bounds[b]) : "+Inf";
        if (s->openmetrics && b < m->nbuckets - 1 && strchr(le, '.') == NULL) {
            le = apr_pstrcat(s->pool, le, ".0", NULL);
        }
        line(s,
             apr_psprintf(s->pool, "%s_bucket{%s%sle=\"%s\"} %" APR_UINT64_T_FMT "\n", m->name, labels, comma, le,
                          m->buckets[b]));
    }
    line(s,
         apr_psprintf(s->pool, "%s_sum%s%s%s %" APR_UINT64_T_FMT ".%06" APR_UINT64_T_FMT "\n", m->name, m->labels ? "{" : "",
                      labels, m->labels ? "}" : "", m->sum_us / 1000000, m->sum_us % 1000000));
    line(s,
         apr_psprintf(s->pool, "%s_count%s%s%s %" APR_UINT64_T_FMT "\n", m->name, m->labels ? "{" : "", labels,
                      m->labels ? "}" : "", m->buckets[m->nbuckets - 1]));
}

static void visit(const mpx_metric_sample_t *m, void *baton)
{
    scrape_t *s = baton;

    if (s->family == NULL || strcmp(s->family, m->name) != 0) {
        const char *family = family_name(s, m);
        s->family = m->name;
        line(s, apr_psprintf(s->pool, "# HELP %s %s\n# TYPE %s %s\n", family, m->help, family, m->type));
    }
    if (m->buckets) {
        write_histogram(s, m);
    }
    else if (m->is_time) {
        line(s,
             apr_psprintf(s->pool, "%s%s%s%s %.6f\n", m->name, m->labels ? "{" : "", m->labels ? m->labels : "",
                          m->labels ? "}" : "", (double)m->value / APR_USEC_PER_SEC));
    }
    else {
        line(s,
             apr_psprintf(s->pool, "%s%s%s%s %" APR_INT64_T_FMT "\n", m->name, m->labels ? "{" : "",
                          m->labels ? m->labels : "", m->labels ? "}" : "", m->value));
    }
}

apr_status_t observe_get_metrics(mpx_http_t *http)
{
    apr_pool_t *pool = http->call->pool;
    const char *accept = apr_table_get(http->r->headers_in, "Accept");
    scrape_t s = { pool, apr_array_make(pool, 256, sizeof(const char *)), NULL,
                   accept && strstr(accept, "application/openmetrics-text") != NULL };
    const char *text;

    mpx_metric_walk(pool, visit, &s);
    if (s.openmetrics) {
        line(&s, "# EOF\n");
    }
    text = apr_array_pstrcat(pool, s.lines, 0);
    return mpx_reply_text(http, HTTP_OK,
                          s.openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                        : "text/plain; version=0.0.4; charset=utf-8",
                          text, strlen(text));
}
