/* Rate limits as a client meets them: exactly so many pass, and the fields tell the truth. */
#include "harness.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char conf[] =
    "<Location \"/hundred\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n  MeterplexRateLimit key "
    "100/d\n</Location>\n"
    "<Location \"/two\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  MeterplexRateLimit key 5/d name=small\n  MeterplexRateLimit tenant 3/d name=shared\n</Location>\n"
    "<Location \"/two/again\">\n  MeterplexRateLimit key 100/min\n</Location>\n"
    "<Location \"/two/free\">\n  MeterplexRateLimit none\n</Location>\n"
    "<Location \"/hundred/in\">\n  MeterplexRateLimit key 10/min\n</Location>\n"
    "<Location \"/hundred/in/it\">\n  MeterplexRateLimit key 9/min\n</Location>\n"
    "<Location \"/other\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n  MeterplexRateLimit tenant 3/d "
    "name=shared\n</Location>\n"
    "<Location \"/cost\">\n  MeterplexRateLimit expr=%{HTTP:X-Who} 10/d cost=%{HTTP:X-Cost}\n</Location>\n"
    "<Location \"/ip\">\n  MeterplexRateLimit ip 3/d\n  MeterplexRateLimit expr=%{HTTP:X-Who} 1/d\n</Location>\n"
    "<Location \"/fast\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n  MeterplexRateLimit key 2/s "
    "burst=1\n</Location>\n"
    "Protocols h2c http/1.1\n"
    "<Location \"/upgraded\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n  MeterplexRateLimit key 10/d\n"
    "  MeterplexRateLimit ip 10/d name=address\n</Location>\n";

static void up(void)
{
    h_up(conf);
}

static const char *fresh_key(void)
{
    static int n;
    return h_key(h_tenant(h_format("limit-%d-%d", (int)getpid(), n++)), "demo:read", NULL, NULL);
}

static const h_response_t *get_with(const char *path, const char *who, const char *cost)
{
    const char *headers[] = { h_format("X-Who: %s", who), h_format("X-Cost: %s", cost), NULL };
    h_request_t request = { .path = path, .headers = headers };
    return h_send(&request);
}

START_TEST(exactly_a_hundred_of_two_thousand_pass)
{
    const char *key = fresh_key();
    int passed = 0, refused = 0, status;
    pid_t pids[20];

    h_expect(h_get("/v1/auth/me", key), 200);
    for (int p = 0; p < 20; p++) {
        pids[p] = fork();
        if (pids[p] == 0) {
            int mine = 0;
            for (int i = 0; i < 100; i++) {
                int s = h_get("/hundred/x", key)->status;
                mine += s == 404; /* let through: there is no such file */
                if (s != 404 && s != 429) {
                    _exit(255);
                }
            }
            _exit(mine);
        }
    }
    for (int p = 0; p < 20; p++) {
        ck_assert_int_eq(waitpid(pids[p], &status, 0), pids[p]);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) <= 100);
        passed += WEXITSTATUS(status);
        refused += 100 - WEXITSTATUS(status);
    }
    ck_assert_int_eq(passed, 100);
    ck_assert_int_eq(refused, 1900);
}
END_TEST

/* The request that asks for HTTP/2 comes again as its first stream: it is one request. */
START_TEST(an_upgrade_is_charged_once)
{
    const char *key = fresh_key(), *asking;

    asking = h_format("GET /upgraded/x HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                      "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
                      key);
    for (int i = 0; i < 3; i++) {
        const char *answer = h_raw(h_main_httpd, asking, strlen(asking), 1);
        ck_assert_msg(strncmp(answer, "HTTP/1.1 101 ", 13) == 0, "%s", answer);
    }
    ck_assert_ptr_nonnull(strstr(h_header(h_get("/upgraded/x", key), "ratelimit"), "\"address\";r=6;"));
    ck_assert_ptr_nonnull(strstr(h_header(h_get("/upgraded/x", key), "ratelimit"), "\"key\";r=5;"));
    /* who only says so has no refund */
    asking = h_format("GET /upgraded/x HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nConnection: Upgrade, close\r\n"
                      "Upgrade: websocket\r\n\r\n",
                      key);
    ck_assert_ptr_nonnull(strstr(h_raw(h_main_httpd, asking, strlen(asking), 1), "\"key\";r=4;"));
}
END_TEST

START_TEST(the_fields_tell_the_truth)
{
    const char *key = fresh_key();
    const h_response_t *r = h_get("/hundred/x", key);

    h_expect_header(r, "ratelimit-policy", "\"key\";q=100;w=86400");
    h_expect_header(r, "ratelimit", "\"key\";r=99;t=864");
    for (int i = 0; i < 99; i++) {
        r = h_get("/hundred/x", key);
    }
    ck_assert_int_eq(strncmp(h_header(r, "ratelimit"), "\"key\";r=0;t=", 12), 0);
    r = h_get("/hundred/x", key);
    h_expect_problem(r, 429, "rate_limited");
    ck_assert_int_gt(atoi(h_header(r, "retry-after")), 800);
    h_expect_json(r, "/violated-policies/0", "key");
}
END_TEST

START_TEST(several_limits_charge_all_or_none)
{
    const char *key = fresh_key();
    const h_response_t *r;

    for (int i = 0; i < 3; i++) {
        r = h_get("/two/x", key);
        h_expect(r, 404);
    }
    h_expect_header(r, "ratelimit-policy", "\"small\";q=5;w=86400, \"shared\";q=3;w=86400");
    for (int i = 0; i < 4; i++) {
        r = h_get("/two/x", key);
        h_expect_problem(r, 429, "rate_limited");
        ck_assert_ptr_nonnull(strstr(h_header(r, "ratelimit"), "\"small\";r=2;"));
    }
    h_expect_problem(h_get("/other/x", key), 429, "rate_limited");     /* one limit wherever its name stands */
    h_expect_problem(h_get("/two/again/x", key), 429, "rate_limited"); /* inherited ones add up */
    h_expect(h_get("/two/free/x", key), 404);
}
END_TEST

START_TEST(limits_of_nested_sections_are_told_apart)
{
    const char *key = fresh_key();

    h_expect_header(h_get("/hundred/in/it/x", key), "ratelimit-policy",
                    "\"key\";q=100;w=86400, \"key-2\";q=10;w=60, \"key-3\";q=9;w=60");
    /* a name in an answer is no matter of what is counted */
    ck_assert_ptr_nonnull(strstr(h_header(h_get("/hundred/in/x", key), "ratelimit"), "\"key-2\";r=8;"));
    ck_assert_ptr_nonnull(strstr(h_header(h_get("/hundred/x", key), "ratelimit"), "\"key\";r=97;"));
}
END_TEST

START_TEST(costs_are_charged)
{
    h_expect(get_with("/cost/x", "ann", "7"), 404);
    h_expect_problem(get_with("/cost/x", "ann", "4"), 429, "rate_limited");
    h_expect(get_with("/cost/x", "ann", "3"), 404);
    h_expect(get_with("/cost/x", "ann", "0"), 404);
    h_expect(get_with("/cost/x", "ben", "10"), 404);
    h_expect_problem(get_with("/cost/x", "cis", "11"), 429, "rate_limited");
    /* more than ever passes: waiting does not help, and a day is said rather than a second */
    h_expect_header(get_with("/cost/x", "cis", "99999999999999999999"), "retry-after", "86400");
    /* what is no number costs 1, whatever it begins with; a fraction is rounded up */
    for (int i = 0; i < 10; i++) {
        static const char *const odd[] = { "0x10", "0b1", "00y", "1e3", "-5", "NaN", "1.", ".5", "", "0.5" };
        h_expect(get_with("/cost/x", "odd", odd[i]), 404);
    }
    h_expect_problem(get_with("/cost/x", "odd", "1"), 429, "rate_limited");
    h_expect(get_with("/cost/x", "", "11"), 404); /* nobody to count by: passed over, and said in a metric */
}
END_TEST

/* Addresses are charged before anything is asked of the request, whatever comes of it; the client's address is the one that
 * mod_remoteip has found. */
START_TEST(addresses_are_limited_first)
{
    const h_response_t *r = get_with("/ip/x", "a", "1");

    h_expect(r, 404);
    ck_assert_ptr_nonnull(strstr(h_header(r, "ratelimit"), "\"ip\";r=2"));
    h_expect_problem(get_with("/ip/x", "a", "1"), 429, "rate_limited"); /* by X-Who; and charged to the address */
    h_expect(get_with("/ip/x", "b", "1"), 404);
    r = get_with("/ip/x", "c", "1");
    h_expect_problem(r, 429, "rate_limited");
    ck_assert_ptr_nonnull(strstr(h_header(r, "ratelimit"), "\"ip\";r=0"));
    ck_assert_ptr_nonnull(h_header(r, "retry-after"));
}
END_TEST

static int passes(const char *path, const char *key)
{
    return h_get(path, key)->status == 404;
}

START_TEST(waiting_as_told_lets_through)
{
    const char *key = fresh_key();
    const h_response_t *r;
    long long refused_at;

    h_expect(h_get("/fast/x", key), 404);
    r = h_get("/fast/x", key);
    h_expect_problem(r, 429, "rate_limited");
    h_expect_header(r, "retry-after", "1");
    refused_at = h_now_ms();
    H_WAIT(1.1, passes("/fast/x", key));
    ck_assert_int_ge((int)(h_now_ms() - refused_at), 300);
}
END_TEST

START_TEST(a_key_brings_its_own_limit)
{
    const char *tenant = h_tenant(h_format("own-%d", (int)getpid()));
    const char *key = h_key(tenant, "demo:read", "\"rate_limit\":{\"rate\":2,\"per\":\"day\"}", NULL);
    const h_response_t *r;

    h_expect(h_get("/v1/auth/me", key), 200);
    r = h_get("/hundred/x", key);
    h_expect_header(r, "ratelimit-policy", "\"api-key\";q=2;w=86400, \"key\";q=100;w=86400");
    h_expect_problem(h_get("/hundred/x", key), 429, "rate_limited");
    h_expect_problem(h_get("/v1/auth/me", key), 429, "rate_limited");
}
END_TEST

/* What was used under the old limit is not counted in the new one's units: a day is none of a second. */
START_TEST(a_limit_that_is_raised_is_heeded_at_once)
{
    const char *tenant = h_tenant(h_format("raised-%d", (int)getpid())), *id;
    const char *key = h_key(tenant, "demo:read", "\"rate_limit\":{\"rate\":1,\"per\":\"day\",\"burst\":365}", &id);
    const char *path = h_format("/v1/tenants/%s/api-keys/%s", tenant, id);
    const char *asked = h_format("{\"key\":\"%s\",\"cost\":365}", key);

    h_expect_json(h_post("/v1/keys/verify", h_admin_key(), asked), "/valid", "true");
    h_expect_problem(h_get("/v1/auth/me", key), 429, "rate_limited");
    h_expect(h_call("PATCH", path, h_admin_key(), "{\"rate_limit\":{\"rate\":100,\"per\":\"second\"}}"), 200);
    H_WAIT(2, h_get("/v1/auth/me", key)->status == 200);
    h_expect(h_call("PATCH", path, h_admin_key(), "{\"rate_limit\":{\"rate\":1,\"per\":\"day\",\"burst\":365}}"), 200);
    H_WAIT(2, h_get("/v1/auth/me", key)->status == 429); /* the old one has not been forgotten */
}
END_TEST

static void expect_refused(const char *line, const char *words)
{
    h_output_t output;
    h_httpd_configure(h_main_httpd, h_format("<Location \"/x\">\n%s\n</Location>\n", line));
    output = h_httpd_test(h_main_httpd);
    h_httpd_configure(h_main_httpd, conf);
    ck_assert_int_ne(output.status, 0);
    ck_assert_msg(strstr(output.error, words) != NULL, "%s\n%s", line, output.error);
}

START_TEST(wrong_lines_are_refused_by_name)
{
    expect_refused("MeterplexRateLimit key", "MeterplexRateLimit takes");
    expect_refused("MeterplexRateLimit host 5/s", "allowed are ip, key, user, tenant, expr=EXPR and none");
    expect_refused("MeterplexRateLimit key 5/week", "is not a rate");
    expect_refused("MeterplexRateLimit key 5/s burst=0", "burst=0");
    expect_refused("MeterplexRateLimit key 5/s burts=3", "allowed are burst=N, name=NAME and cost=EXPR");
    expect_refused("MeterplexRateLimit key 5/s name=a\"b", "name=");
    expect_refused("MeterplexRateLimit expr= 5/s", "an expression is missing");
    expect_refused("MeterplexRateLimit key 5/s cost=", "an expression is missing");
    expect_refused("MeterplexMeter", "MeterplexMeter takes");
    expect_refused("MeterplexMeter a.b value=", "an expression is missing");
    expect_refused("MeterplexRateLimit key 5/s cost=1 cost=2", "the option is given twice");
    expect_refused("MeterplexRateLimit key 5/s burst=9 burst=9", "burst= is given twice");
    expect_refused("MeterplexRateLimit key 5/s name=a name=b", "name= is given twice");
    expect_refused("MeterplexMeter a.b value=1 value=2", "an option is given twice");
    expect_refused("MeterplexMeter a.b prop=a:1 prop=b:2 prop=a:3", "prop=a is given twice");
    expect_refused("MeterplexMeter a.b prop=x", "NAME:EXPR");
    expect_refused("Require meterplex-scope nocolon", "meterplex-scope");
    expect_refused("Require meterplex-scope demo:*", "meterplex-scope");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("limit");
    TCase *tcase = tcase_create("limit");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, exactly_a_hundred_of_two_thousand_pass);
    tcase_add_test(tcase, the_fields_tell_the_truth);
    tcase_add_test(tcase, several_limits_charge_all_or_none);
    tcase_add_test(tcase, limits_of_nested_sections_are_told_apart);
    tcase_add_test(tcase, an_upgrade_is_charged_once);
    tcase_add_test(tcase, costs_are_charged);
    tcase_add_test(tcase, addresses_are_limited_first);
    tcase_add_test(tcase, waiting_as_told_lets_through);
    tcase_add_test(tcase, a_key_brings_its_own_limit);
    tcase_add_test(tcase, a_limit_that_is_raised_is_heeded_at_once);
    tcase_add_test(tcase, wrong_lines_are_refused_by_name);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
