/* ctl_status.c: `meterplexctl status`: what there is. Tables of tenants are counted tenant by tenant, since row level
 * security shows the rows of one at a time, to the operator too. */
#include "ctl.h"

#include <stdio.h>
#include <string.h>

#include <apr_network_io.h>
#include <apr_strings.h>
#include <apr_uri.h>

#include "ctl_sql.h"

#define HTTP_TIMEOUT apr_time_from_sec(3)

typedef struct status {
    ctl_t *ctl;
    int tenants; /* show each */
    const char *url;
    mpx_jsonw_t *json; /* NULL: text */
    apr_int64_t keys, events;
} status_t;

/* Ask for /health/live and read the status line. @return the HTTP status, or 0 and *wrong */
static int ask_httpd(apr_pool_t *pool, const char *url, const char **wrong)
{
    apr_uri_t uri;
    apr_sockaddr_t *address;
    apr_socket_t *socket;
    char answer[64], reason[120];
    const char *request;
    apr_size_t len, got = 0;
    apr_status_t rv;

    if (apr_uri_parse(pool, url, &uri) != APR_SUCCESS || uri.scheme == NULL || strcmp(uri.scheme, "http") != 0
        || uri.hostname == NULL) {
        *wrong = "it is no URL of the form http://host:port";
        return 0;
    }
    rv = apr_sockaddr_info_get(&address, uri.hostname, APR_UNSPEC, uri.port ? uri.port : 80, 0, pool);
    if (rv == APR_SUCCESS) {
        rv = apr_socket_create(&socket, address->family, SOCK_STREAM, APR_PROTO_TCP, pool);
    }
    if (rv == APR_SUCCESS) {
        apr_socket_timeout_set(socket, HTTP_TIMEOUT);
        request = apr_psprintf(pool, "GET %s/health/live HTTP/1.0\r\nHost: %s\r\n\r\n",
                               uri.path && strcmp(uri.path, "/") != 0 ? uri.path : "", uri.hostinfo);
        len = strlen(request);
        rv = apr_socket_connect(socket, address);
        if (rv == APR_SUCCESS) {
            rv = apr_socket_send(socket, request, &len);
        }
        while (rv == APR_SUCCESS && got < sizeof "HTTP/1.1 200" - 1) {
            len = sizeof answer - 1 - got;
            rv = apr_socket_recv(socket, answer + got, &len);
            got += len;
        }
        apr_socket_close(socket);
    }
    answer[got] = '\0';
    if (got >= sizeof "HTTP/1.1 200" - 1 && strncmp(answer, "HTTP/1.", 7) == 0) {
        return (int)apr_atoi64(answer + 9);
    }
    *wrong = rv == APR_SUCCESS ? "it does not speak HTTP" : apr_pstrdup(pool, apr_strerror(rv, reason, sizeof reason));
    return 0;
}

static int show_httpd(status_t *s)
{
    const char *wrong = NULL;
    int code = ask_httpd(s->ctl->pool, s->url, &wrong);

    if (s->json) {
        mpx_jsonw_key(s->json, "httpd");
        mpx_jsonw_object(s->json);
        mpx_jsonw_member_string(s->json, "url", s->url);
        mpx_jsonw_member_bool(s->json, "live", code == 200);
        if (code) {
            mpx_jsonw_member_int(s->json, "status", code);
        }
        else {
            mpx_jsonw_member_string(s->json, "problem", wrong);
        }
        mpx_jsonw_end(s->json);
    }
    else if (code == 200) {
        printf("httpd       %s is live\n", s->url);
    }
    else if (code) {
        printf("httpd       %s answers, but %d to /health/live: is mod_meterplex_observe loaded and is the path handled?\n",
               s->url,
               code);
    }
    else {
        printf("httpd       %s does not answer: %s\n", s->url, wrong);
    }
    return code == 200 ? CTL_OK : CTL_FAILED;
}

static int show_server(status_t *s)
{
    mpx_call_t call;
    mpx_rows_t *rows;

    ctl_call(s->ctl, &call, s->ctl->pool, NULL);
    if (ctl_query(&call, MPX_TX_READ, SQL_status_server, NULL, 0, &rows) != APR_SUCCESS) {
        return ctl_fail_call(s->ctl, &call);
    }
    if (s->json) {
        mpx_jsonw_key(s->json, "database");
        mpx_jsonw_object(s->json);
        mpx_jsonw_member_string(s->json, "name", mpx_rows_text(rows, 0, 1));
        mpx_jsonw_member_string(s->json, "server_version", mpx_rows_text(rows, 0, 0));
        mpx_jsonw_member_int(s->json, "bytes", mpx_rows_int(rows, 0, 2));
        mpx_jsonw_end(s->json);
    }
    else {
        printf("database    %s, %s, PostgreSQL %s\n", mpx_rows_text(rows, 0, 1), mpx_rows_text(rows, 0, 3),
               mpx_rows_text(rows, 0, 0));
    }
    return CTL_OK;
}

static int show_migrations(status_t *s)
{
    mpx_call_t call;
    apr_array_header_t *applied;
    const ctl_applied_t *last;

    ctl_call(s->ctl, &call, s->ctl->pool, NULL);
    if (ctl_migrations_applied(&call, &applied) != APR_SUCCESS) {
        return ctl_fail_call(s->ctl, &call);
    }
    last = applied->nelts ? &APR_ARRAY_IDX(applied, applied->nelts - 1, ctl_applied_t) : NULL;
    if (s->json) {
        mpx_jsonw_key(s->json, "schema");
        mpx_jsonw_object(s->json);
        mpx_jsonw_member_int(s->json, "version", last ? last->version : 0);
        mpx_jsonw_member_int(s->json, "migrations", applied->nelts);
        mpx_jsonw_member_string(s->json, "applied_at", last ? last->applied_at : NULL);
        mpx_jsonw_member_int(s->json, "needed", MPX_SCHEMA_VERSION);
        mpx_jsonw_end(s->json);
    }
    else if (last) {
        printf("schema      %04d (%s), %d migrations, the last at %s\n", last->version, last->name, applied->nelts,
               last->applied_at);
    }
    if (last == NULL || last->version < MPX_SCHEMA_VERSION) {
        return ctl_fail("the schema is at %04d, and %04d is needed: meterplexctl migrate", last ? last->version : 0,
                        MPX_SCHEMA_VERSION);
    }
    return CTL_OK;
}

/* Rows of one tenant: its keys that are not revoked and its events. */
static int show_tenant(status_t *s, apr_pool_t *pool, const mpx_rows_t *tenants, int row)
{
    mpx_uuid_t id;
    mpx_call_t call;
    mpx_rows_t *rows;
    apr_int64_t keys, events;

    mpx_rows_uuid(tenants, row, 0, &id);
    ctl_call(s->ctl, &call, pool, &id);
    if (ctl_query(&call, MPX_TX_READ, SQL_status_of_tenant, NULL, 0, &rows) != APR_SUCCESS) {
        return ctl_fail_call(s->ctl, &call);
    }
    s->keys += keys = mpx_rows_int(rows, 0, 0);
    s->events += events = mpx_rows_int(rows, 0, 1);
    if (s->tenants && s->json) {
        mpx_jsonw_object(s->json);
        mpx_jsonw_member_string(s->json, "id", mpx_typeid_format(pool, "ten", &id));
        mpx_jsonw_member_string(s->json, "slug", mpx_rows_text(tenants, row, 1));
        mpx_jsonw_member_string(s->json, "status", mpx_rows_text(tenants, row, 2));
        mpx_jsonw_member_int(s->json, "api_keys", keys);
        mpx_jsonw_member_int(s->json, "events", events);
        mpx_jsonw_end(s->json);
    }
    else if (s->tenants) {
        printf("  %s  %-9s %6" APR_INT64_T_FMT " keys %12" APR_INT64_T_FMT " events  %s\n",
               mpx_typeid_format(pool, "ten", &id), mpx_rows_text(tenants, row, 2), keys, events,
               mpx_rows_text(tenants, row, 1));
    }
    return CTL_OK;
}

static int show_tenants(status_t *s)
{
    mpx_call_t call;
    mpx_rows_t *tenants;
    apr_pool_t *pool;
    int i, n, rv = CTL_OK;

    ctl_call(s->ctl, &call, s->ctl->pool, NULL);
    if (ctl_query(&call, MPX_TX_READ | MPX_TX_PLATFORM, SQL_status_tenants, NULL, 0, &tenants) != APR_SUCCESS) {
        return ctl_fail_call(s->ctl, &call);
    }
    n = mpx_rows_count(tenants);
    if (s->json && s->tenants) {
        mpx_jsonw_key(s->json, "tenants");
        mpx_jsonw_array(s->json);
    }
    apr_pool_create(&pool, s->ctl->pool);
    for (i = 0; i < n && rv == CTL_OK; i++) {
        apr_pool_clear(pool);
        rv = show_tenant(s, pool, tenants, i);
    }
    apr_pool_destroy(pool);
    if (s->json && s->tenants) {
        mpx_jsonw_end(s->json);
    }
    if (rv == CTL_OK && s->json) {
        mpx_jsonw_key(s->json, "counts");
        mpx_jsonw_object(s->json);
        mpx_jsonw_member_int(s->json, "tenants", n);
        mpx_jsonw_member_int(s->json, "api_keys", s->keys);
        mpx_jsonw_member_int(s->json, "events", s->events);
        mpx_jsonw_end(s->json);
    }
    else if (rv == CTL_OK) {
        printf("contents    %d tenants, %" APR_INT64_T_FMT " keys, %" APR_INT64_T_FMT " events\n", n, s->keys, s->events);
    }
    return rv;
}

/* What the database says. */
static int show_database(status_t *s)
{
    int rv = show_server(s);

    rv = rv == CTL_OK ? show_migrations(s) : rv;
    return rv == CTL_OK ? show_tenants(s) : rv;
}

int ctl_status(ctl_t *ctl, int argc, const char *const *argv)
{
    status_t s = { .ctl = ctl };
    const ctl_option_t options[] = {
        { "tenants", CTL_FLAG, &s.tenants },
        { "url", CTL_TEXT, &s.url },
        { NULL, CTL_FLAG, NULL },
    };
    int rv = ctl_options(ctl, options, argc, argv, 0, 0, NULL), httpd;

    if (rv != CTL_OK || (rv = ctl_connect_as_app(ctl)) == CTL_USAGE) {
        return rv;
    }
    if (ctl->json) {
        s.json = mpx_jsonw_make(ctl->pool);
        mpx_jsonw_object(s.json);
    }
    rv = rv == CTL_OK ? show_database(&s) : rv;
    if (s.url) {
        /* asked whatever the database said: it answers, degraded, without one */
        httpd = show_httpd(&s);
        rv = rv == CTL_OK ? httpd : rv;
    }
    else if (rv != CTL_OK) {
        return rv;
    }
    if (s.json) {
        mpx_jsonw_end(s.json);
        ctl_print_json(s.json);
    }
    return rv;
}
