/* Authentication: credentials on a request, AuthType Meterplex and Require on locations, revocation on every child and node,
 * and the database gone.
 */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *tenant, *reader, *other;
static h_httpd_t *second;

static const char conf[] =
    "<Location /gated>\n    AuthType Meterplex\n    Require meterplex-scope demo:read demo:all\n</Location>\n"
    "<Location /both>\n    AuthType Meterplex\n    <RequireAll>\n        Require meterplex-scope demo:read\n"
    "        Require meterplex-scope demo:write\n    </RequireAll>\n</Location>\n"
    "<Location /notus>\n    AuthType Meterplex\n    <RequireAll>\n        Require meterplex-scope demo:read demo:write\n"
    "        Require not meterplex-tenant acme\n    </RequireAll>\n</Location>\n"
    "<Location /deny>\n    AuthType Meterplex\n    <RequireAll>\n        Require meterplex-scope demo:read\n"
    "        Require not meterplex-scope billing:blocked\n        Require not ip 127.0.0.1\n    </RequireAll>\n"
    "</Location>\n"
    "<Location /open>\n    AuthType Meterplex\n    <RequireAll>\n        Require ip 127.0.0.1\n"
    "        Require not meterplex-tenant acme\n        Require not meterplex-scope never:held\n    </RequireAll>\n"
    "</Location>\n"
    "<Location /none>\n    AuthType Meterplex\n    <RequireAll>\n        Require meterplex-scope demo:read\n"
    "        <RequireNone>\n            <RequireAny>\n                Require meterplex-tenant umbrella\n"
    "                Require ip 127.0.0.1\n            </RequireAny>\n        </RequireNone>\n    </RequireAll>\n"
    "</Location>\n"
    "<Location /acme>\n    AuthType Meterplex\n    Require meterplex-tenant acme\n</Location>\n"
    "<Location /either>\n    AuthType Meterplex\n    <RequireAny>\n        Require meterplex-scope never:held\n"
    "        Require meterplex-tenant acme umbrella\n    </RequireAny>\n</Location>\n"
    /* httpd's default, which the harness overrides for all of "/" */
    "<Location />\n    AuthzSendForbiddenOnFailure Off\n</Location>\n"
    "AliasMatch ^/(gated|both|notus|deny|open|none|acme|either) /dev/null\n";

static void up(void)
{
    h_up_stopped(conf);
    h_httpd_start(h_main_httpd);
    second = h_httpd_make("second", 1, conf);
    h_httpd_start(second);
    tenant = h_tenant("acme");
    reader = h_key(tenant, "demo:read", NULL, NULL);
    other = h_key(h_tenant("umbrella"), "demo:write", NULL, NULL);
}

static const h_response_t *with(const char *path, const char *first, const char *next)
{
    const char *headers[] = { first, next, NULL };
    h_request_t request = { .path = path, .headers = headers };

    return h_send(&request);
}

static int status_at(const h_httpd_t *httpd, const char *path, const char *key)
{
    h_request_t request = { .httpd = httpd, .path = path, .key = key };

    return h_send(&request)->status;
}

/* The location lets it through: httpd then has a device to serve, which it refuses, or an empty file. */
static int passes(const char *path, const char *key)
{
    const h_response_t *r = h_get(path, key);

    return r->status == 200 || (r->status == 403 && !strstr(r->body, "insufficient_scope") && !strstr(r->body, "tenant"));
}

START_TEST(credentials_are_read_from_either_field)
{
    h_expect(with("/v1/auth/me", h_format("Authorization: Bearer %s", reader), NULL), 200);
    h_expect(with("/v1/auth/me", h_format("authorization: bearer   %s", reader), NULL), 200);
    h_expect(with("/v1/auth/me", h_format("X-API-Key: %s", reader), NULL), 200);
    h_expect(with("/v1/auth/me", h_format("X-API-Key: %s", reader), h_format("Authorization: Bearer %s", reader)), 200);
    h_expect_problem(with("/v1/auth/me", h_format("X-API-Key: %s", reader), h_format("Authorization: Bearer %s", other)),
                     400, "bad_request");
    h_expect_problem(with("/v1/auth/me", h_format("X-API-Key: %s", reader), h_format("X-API-Key: %s", reader)), 400,
                     "bad_request");
    /* an empty field is none */
    h_expect(with("/v1/auth/me", h_format("Authorization: Bearer %s", reader), "X-API-Key;"), 200);
    h_expect_problem(with("/v1/auth/me", "X-API-Key;", NULL), 401, "unauthenticated");
    /* another scheme is another module's business */
    h_expect(with("/v1/auth/me", h_format("X-API-Key: %s", reader), "Authorization: Basic eDp5"), 200);
    h_expect_problem(with("/v1/auth/me", "Authorization: Basic eDp5", NULL), 401, "unauthenticated");
}
END_TEST

START_TEST(what_is_wrong_with_a_credential_is_said)
{
    const h_response_t *r = with("/v1/auth/me", "Authorization: Bearer something", NULL);
    char *wrong = h_format("%s", reader);

    h_expect_problem(r, 401, "invalid_token");
    ck_assert_ptr_nonnull(strstr(h_header(r, "www-authenticate"), "invalid_token"));
    r = h_get("/v1/auth/me", NULL);
    h_expect_problem(r, 401, "unauthenticated");
    h_expect_header(r, "www-authenticate", "Bearer realm=\"meterplex\"");
    wrong[20] = wrong[20] == 'x' ? 'y' : 'x';
    h_expect_problem(h_get("/v1/auth/me", wrong), 401, "invalid_api_key");
    h_expect_problem(with("/v1/auth/me", "X-API-Key: mpx_live_short", NULL), 401, "invalid_api_key");
}
END_TEST

START_TEST(an_expired_key_says_so)
{
    const char *id, *key = h_key(tenant, "demo:read", NULL, &id);

    h_expect(h_get("/v1/auth/me", key), 200);
    h_sql("UPDATE identity.api_keys SET expires_at = now() - interval '1 second' WHERE last_used_at IS NULL AND "
          "hint = right('%s', 4); SELECT pg_notify('meterplex_principals', 'all')",
          key);
    H_WAIT(3, h_get("/v1/auth/me", key)->status == 401);
    h_expect_problem(h_get("/v1/auth/me", key), 401, "expired_api_key");
}
END_TEST

START_TEST(a_key_may_be_bound_to_addresses)
{
    const char *here = h_key(tenant, "demo:read", "\"allowed_cidrs\":[\"10.0.0.0/8\",\"127.0.0.1\"]", NULL);
    const char *elsewhere = h_key(tenant, "demo:read", "\"allowed_cidrs\":[\"10.0.0.0/8\"]", NULL);

    h_expect(h_get("/v1/auth/me", here), 200);
    h_expect_problem(h_get("/v1/auth/me", elsewhere), 403, "forbidden");
    h_expect_problem(h_get("/gated", elsewhere), 403, "forbidden");
}
END_TEST

START_TEST(a_location_asks_for_a_scope)
{
    const h_response_t *r = h_get("/gated", NULL);

    h_expect_problem(r, 401, "unauthenticated");
    h_expect_header(r, "www-authenticate", "Bearer realm=\"meterplex\"");
    ck_assert(passes("/gated", reader));
    r = h_get("/gated", other);
    h_expect_problem(r, 403, "insufficient_scope");
    ck_assert_ptr_null(h_header(r, "www-authenticate"));
    h_expect_problem(h_get("/both", reader), 403, "insufficient_scope");
    ck_assert(passes("/both", h_key(tenant, "demo:read demo:write", NULL, NULL)));
    h_expect_problem(h_get("/gated", "mpx_live_short"), 401, "invalid_api_key");
}
END_TEST

START_TEST(a_location_asks_for_a_tenant)
{
    ck_assert(passes("/acme", reader));
    h_expect_problem(h_get("/acme", other), 403, "forbidden");
    ck_assert(passes("/notus", other));
    h_expect_problem(h_get("/notus", reader), 403, "forbidden");
    ck_assert(passes("/either", reader));
    ck_assert(passes("/either", other));
    h_expect(h_get("/either", NULL), 401);
}
END_TEST

/* A line that must not match, and does not, is not why the request is refused; what it would deny is nobody's to know. */
START_TEST(a_negated_line_is_no_reason)
{
    static const char *const paths[] = { "/deny", "/none" };

    for (int i = 0; i < 2; i++) {
        const h_response_t *r = h_get(paths[i], reader);

        h_expect_problem(r, 403, "forbidden");
        h_expect_json(r, "/detail", "This is not allowed.");
    }
    h_expect_problem(h_get("/none", other), 403, "insufficient_scope");
}
END_TEST

/* Beside a line that asks for nobody, whoever is named is refused all the same. */
START_TEST(a_negated_line_denies_whom_it_names)
{
    h_expect_problem(h_get("/open", reader), 403, "forbidden");
    ck_assert(passes("/open", other));
    ck_assert(passes("/open", NULL));
}
END_TEST

START_TEST(a_wrong_require_line_stops_the_start)
{
    h_httpd_t *wrong = h_httpd_make("wrong", 1, "<Location /x>\n    Require meterplex-scope\n</Location>\n");
    h_output_t output = h_httpd_test(wrong);

    ck_assert_int_ne(output.status, 0);
    ck_assert_ptr_nonnull(strstr(output.error, "meterplex-scope"));
    h_httpd_configure(wrong, "<Location /x>\n    MeterplexAuth jwt\n</Location>\n");
    output = h_httpd_test(wrong);
    ck_assert_int_ne(output.status, 0);
    ck_assert_ptr_nonnull(strstr(output.error, "api-key"));
    h_httpd_configure(wrong, "MeterplexPrincipalTTL never\n");
    output = h_httpd_test(wrong);
    ck_assert_int_ne(output.status, 0);
    ck_assert_ptr_nonnull(strstr(output.error, "MeterplexPrincipalTTL"));
}
END_TEST

START_TEST(a_revocation_reaches_every_child_and_node_within_a_second)
{
    const char *id, *key = h_key(tenant, "demo:read", NULL, &id);
    long long since;
    int i;

    for (i = 0; i < 20; i++) {
        ck_assert_int_eq(status_at(NULL, "/v1/auth/me", key), 200);
        ck_assert_int_eq(status_at(second, "/v1/auth/me", key), 200);
    }
    since = h_now_ms();
    h_expect(h_call("DELETE", h_format("/v1/tenants/%s/api-keys/%s", tenant, id), h_admin_key(), NULL), 204);
    H_WAIT(1, status_at(second, "/gated", key) == 401);
    ck_assert_int_le(h_now_ms() - since, 1000);
    for (i = 0; i < 40; i++) {
        ck_assert_int_eq(status_at(NULL, "/v1/auth/me", key), 401);
        ck_assert_int_eq(status_at(second, "/v1/auth/me", key), 401);
    }
}
END_TEST

START_TEST(a_revocation_is_heeded_though_the_listening_child_dies)
{
    pid_t children[16];
    const char *id, *key = h_key(tenant, "demo:read", NULL, &id);
    int i, n = h_httpd_children(second, children, 16);

    ck_assert_int_eq(status_at(second, "/v1/auth/me", key), 200);
    for (i = 0; i < n && i < 16; i++) {
        kill(children[i], SIGKILL); /* whichever of them listens */
    }
    h_expect(h_call("DELETE", h_format("/v1/tenants/%s/api-keys/%s", tenant, id), h_admin_key(), NULL), 204);
    /* the server first has to make new children */
    H_WAIT(5, status_at(second, "/v1/auth/me", reader) == 200);
    H_WAIT(1, status_at(second, "/v1/auth/me", key) == 401);
    for (i = 0; i < 20; i++) {
        ck_assert_int_eq(status_at(second, "/v1/auth/me", key), 401);
    }
}
END_TEST

/* @return the process id of the server's process that tells a listener, the nth */
static pid_t teller(int n)
{
    return (pid_t)atoi(h_sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'meterplex listener' ORDER BY pid "
                             "OFFSET %d LIMIT 1",
                             n));
}

START_TEST(a_revocation_is_heeded_though_its_teller_is_held_up)
{
    pid_t tellers[2];

    H_WAIT(5, (tellers[0] = teller(0)) > 0 && (tellers[1] = teller(1)) > 0);
    for (int round = 0; round < 8; round++) {
        const char *id, *key = h_key(tenant, "demo:read", NULL, &id);
        long long since;
        int deleted;

        for (int i = 0; i < 20; i++) {
            ck_assert_int_eq(status_at(second, "/v1/auth/me", key), 200);
        }
        kill(tellers[0], SIGSTOP);
        kill(tellers[1], SIGSTOP);
        deleted = h_call("DELETE", h_format("/v1/tenants/%s/api-keys/%s", tenant, id), h_admin_key(), NULL)->status;
        for (since = h_now_ms(); h_now_ms() < since + 2000 && status_at(second, "/gated", key) != 401; h_pause()) {
        }
        since = h_now_ms() - since;
        kill(tellers[0], SIGCONT);
        kill(tellers[1], SIGCONT);
        ck_assert_int_eq(deleted, 204);
        ck_assert_msg(since < 950, "round %d: still served after %lld ms", round, since);
        /* each notices by itself, and makes a new one */
        H_WAIT(5, (tellers[0] = teller(0)) > 0 && (tellers[1] = teller(1)) > 0);
    }
    /* and who does not listen any more keeps no connection for it: one for each node */
    H_WAIT(5, teller(2) == 0);
}
END_TEST

/* Every child has found the database again: so many answers in a row that each has given some. */
static int recovered(const char *key)
{
    int i;

    for (i = 0; i < 60 && status_at(NULL, "/v1/auth/me", key) == 200 && status_at(second, "/v1/auth/me", key) == 200; i++) {
    }
    return i == 60;
}

static void signal_backends(const char *which, int signal_number)
{
    char *pids = strdup(h_sql("SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE usename = 'meterplex' AND %s",
                              which)),
         *state = NULL;

    for (char *pid = strtok_r(pids, " ", &state); pid; pid = strtok_r(NULL, " ", &state)) {
        kill((pid_t)atoi(pid), signal_number);
    }
    free(pids);
}

/* All that a node asks and is told by is held up, but its pulse says that the database is there: then a key that may have
 * been revoked is not served on trust. */
START_TEST(a_database_that_only_seems_to_be_there_is_not_one_that_is_away)
{
    static const char most[] = "application_name <> 'meterplex pulse'";
    const char *key = h_key(tenant, "demo:read", NULL, NULL);
    long long since;
    int served = 0, status = 0;

    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(status_at(second, "/v1/auth/me", key), 200);
    }
    h_sql("UPDATE identity.api_keys SET revoked_at = now() WHERE hint = right('%s', 4) AND last_used_at IS NULL", key);
    signal_backends(most, SIGSTOP);
    for (since = h_now_ms(); h_now_ms() < since + 4000; h_pause()) {
        status = status_at(second, "/gated", key);
        served += h_now_ms() - since > 1000 && status != 503 && status != 401;
    }
    signal_backends(most, SIGCONT);
    ck_assert_int_eq(served, 0);
    H_WAIT(5, status_at(second, "/gated", key) == 401);
    H_WAIT(5, recovered(reader) && teller(1) > 0);
}
END_TEST

/* Whoever listens is held up: another child takes over, and the first gives up its connection when it finds out. */
START_TEST(a_node_has_one_listener)
{
    for (int round = 0; round < 3; round++) {
        pid_t children[16];
        int n = h_httpd_children(second, children, 16);
        long long moment = h_now_ms() + 1200;

        for (int i = 0; i < n && i < 16; i++) { /* all but one */
            kill(children[i], i == round % n ? SIGCONT : SIGSTOP);
        }
        H_WAIT(3, h_now_ms() > moment);
        for (int i = 0; i < n && i < 16; i++) {
            kill(children[i], SIGCONT);
        }
    }
    H_WAIT(5, teller(1) > 0 && teller(2) == 0);
}
END_TEST

static long lookups(void)
{
    static const char name[] = "meterplex_principal_lookups_total{result=\"database\"} ";
    const char *line = strstr(h_get("/metrics", NULL)->body, name);

    ck_assert_ptr_nonnull(line);
    return strtol(line + sizeof name - 1, NULL, 10);
}

START_TEST(the_longest_key_is_remembered_too)
{
    char scopes[64 * 66 + 1] = "", cidrs[64 * 54 + 64] = "\"allowed_cidrs\":[\"127.0.0.1\"";
    const char *key;
    long before;
    int i;

    for (i = 0; i < 64; i++) {
        sprintf(scopes + strlen(scopes), "%sa%02d:%s", i ? " " : "", i,
                "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
        if (i < 63) {
            sprintf(cidrs + strlen(cidrs), ",\"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.%d/128\"", 100 + i);
        }
    }
    key = h_key(tenant, scopes, strcat(cidrs, "]"), NULL);
    h_expect(h_get("/v1/auth/me", key), 200);
    h_expect_json(h_get("/v1/auth/me", key), "/principal/scopes/63",
                  "a63:yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
    /* a listener that is back from the case before lets all be looked up once more */
    H_WAIT(3, (before = lookups()) >= 0 && h_get("/v1/auth/me", key)->status == 200 && lookups() == before);
}
END_TEST

START_TEST(what_was_missed_while_nobody_listened_is_looked_up)
{
    const char *id, *key = h_key(tenant, "demo:read", NULL, &id);

    ck_assert_int_eq(status_at(second, "/v1/auth/me", key), 200);
    /* revoked without a word, then every connection is cut: the listener's new one must lead to doubt */
    h_sql("UPDATE identity.api_keys SET revoked_at = now() WHERE hint = right('%s', 4) AND last_used_at IS NULL", key);
    h_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'meterplex'");
    H_WAIT(5, status_at(second, "/v1/auth/me", key) == 401);
    H_WAIT(10, recovered(reader));
}
END_TEST

START_TEST(known_keys_go_on_without_a_database)
{
    const char *unknown = h_key(tenant, "demo:read", NULL, NULL), *known = h_key(tenant, "demo:read", NULL, NULL);
    const h_response_t *r;
    int i;

    ck_assert(passes("/gated", known));
    h_pg_stop(H_PG_FAST);
    for (i = 0; i < 30; i++) {
        r = h_get("/gated", known);
        ck_assert_int_ne(r->status, 401);
        ck_assert_int_ne(r->status, 429);
        ck_assert_int_ne(r->status, 503);
        ck_assert(r->seconds < 1.5);
    }
    r = h_get("/gated", unknown);
    h_expect_problem(r, 503, "unavailable");
    ck_assert_ptr_nonnull(h_header(r, "retry-after"));
    ck_assert(r->seconds < 1.5);
    h_expect_problem(h_get("/gated", other), 403, "insufficient_scope");
    h_pg_start();
    H_WAIT(10, passes("/gated", unknown));
    H_WAIT(10, recovered(known));
}
END_TEST

/* The table of secrets is locked while all the requests arrive: each must wait, and one of them alone for the database. */
START_TEST(many_waiting_requests_ask_once)
{
    const char *key = h_key(tenant, "demo:read", NULL, NULL);
    pid_t locker, children[16];
    long before;
    int i, status;

    locker = h_lock_tables("identity.api_key_secrets", 0.5);
    before = lookups();
    for (i = 0; i < 16; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            _exit(status_at(NULL, "/v1/auth/me", key) == 200 ? 0 : 1);
        }
    }
    for (i = 0; i < 16; i++) {
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_int_eq(waitpid(locker, &status, 0), locker);
    /* three: the listener may have been connected anew meanwhile, after the case before this one */
    ck_assert_int_ge(lookups() - before, 1);
    ck_assert_int_le(lookups() - before, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("auth");
    TCase *tcase = tcase_create("auth");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, credentials_are_read_from_either_field);
    tcase_add_test(tcase, what_is_wrong_with_a_credential_is_said);
    tcase_add_test(tcase, an_expired_key_says_so);
    tcase_add_test(tcase, a_key_may_be_bound_to_addresses);
    tcase_add_test(tcase, a_location_asks_for_a_scope);
    tcase_add_test(tcase, a_location_asks_for_a_tenant);
    tcase_add_test(tcase, a_negated_line_is_no_reason);
    tcase_add_test(tcase, a_negated_line_denies_whom_it_names);
    tcase_add_test(tcase, a_wrong_require_line_stops_the_start);
    tcase_add_test(tcase, a_revocation_reaches_every_child_and_node_within_a_second);
    tcase_add_test(tcase, a_revocation_is_heeded_though_its_teller_is_held_up);
    tcase_add_test(tcase, a_database_that_only_seems_to_be_there_is_not_one_that_is_away);
    tcase_add_test(tcase, a_node_has_one_listener);
    tcase_add_test(tcase, the_longest_key_is_remembered_too);
    tcase_add_test(tcase, a_revocation_is_heeded_though_the_listening_child_dies);
    tcase_add_test(tcase, what_was_missed_while_nobody_listened_is_looked_up);
    tcase_add_test(tcase, many_waiting_requests_ask_once);
    tcase_add_test(tcase, known_keys_go_on_without_a_database);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
