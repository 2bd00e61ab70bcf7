/* API keys over the API: making, showing, changing, rotating and ending them; who may hand out what; /v1/keys/verify. */
#include "harness.h"

#include <string.h>
#include <unistd.h>

static const char *tenant;

static void up(void)
{
    h_up(NULL);
    tenant = h_tenant("acme");
}

static const char *keys_path(const char *of)
{
    return h_format("/v1/tenants/%s/api-keys", of);
}

static const char *key_path(const char *id)
{
    return h_format("/v1/tenants/%s/api-keys/%s", tenant, id);
}

static const h_response_t *make(const char *key, const char *json)
{
    return h_post(keys_path(tenant), key, json);
}

static int works(const char *key)
{
    return h_get("/v1/auth/me", key)->status == 200;
}

START_TEST(a_key_is_made_and_its_secret_shown_once)
{
    const h_response_t *r =
        make(h_admin_key(), "{\"name\":\"ci\",\"scopes\":[\"usage:write\",\"demo:read\",\"usage:write\"],\"env\":\"test\","
                            "\"rate_limit\":{\"rate\":100,\"per\":\"minute\"},\"allowed_cidrs\":[\"127.0.0.0/8\",\"::1\"],"
                            "\"metadata\":{\"team\":\"a\"},\"expires_at\":\"2099-01-01T01:00:00+01:00\"}");
    const char *secret, *id, *hint;

    h_expect(r, 201);
    secret = h_json_text(r, "/secret");
    ck_assert_ptr_nonnull(secret);
    ck_assert_int_eq(strncmp(secret, "mpx_test_", 9), 0);
    ck_assert_uint_eq(strlen(secret), 59);
    hint = h_json_text(r, "/hint");
    ck_assert_str_eq(hint, secret + strlen(secret) - 4);
    id = h_json_text(r, "/id");
    h_expect_header(r, "location", key_path(id));
    h_expect_json(r, "/scopes/0", "demo:read");
    h_expect_json(r, "/scopes/1", "usage:write");
    h_expect_json(r, "/scopes/2", NULL);
    h_expect_json(r, "/rate_limit/rate", "100");
    h_expect_json(r, "/rate_limit/burst", "100");
    h_expect_json(r, "/rate_limit/per", "minute");
    h_expect_json(r, "/allowed_cidrs/1", "::1");
    h_expect_json(r, "/expires_at", "2099-01-01T00:00:00Z");
    h_expect_json(r, "/last_used_at", "null");
    h_expect_json(r, "/env", "test");

    ck_assert(works(secret));
    r = h_get(key_path(id), h_admin_key());
    h_expect(r, 200);
    h_expect_json(r, "/secret", NULL);
    h_expect_json(r, "/hint", hint);
    h_expect_json(r, "/metadata/team", "a");
    ck_assert_ptr_null(strstr(h_get(h_format("%s?limit=200", keys_path(tenant)), h_admin_key())->body, secret));
    H_WAIT(15, strcmp(h_json_text(h_get(key_path(id), h_admin_key()), "/last_used_at"), "null") != 0);
    /* nowhere is the text itself kept */
    ck_assert_str_eq(h_sql("SELECT count(*) FROM events.outbox WHERE payload::text LIKE '%%' || '%s' || '%%'", secret), "0");
    ck_assert_str_eq(h_sql("SELECT count(*) FROM audit.entries WHERE details::text LIKE '%%' || '%s' || '%%'", secret), "0");
    ck_assert(!h_httpd_logged(h_main_httpd, secret));
}
END_TEST

START_TEST(defaults_are_plain)
{
    const h_response_t *r = make(h_admin_key(), "{\"name\":\"plain\",\"scopes\":[]}");

    h_expect(r, 201);
    h_expect_json(r, "/env", "live");
    h_expect_json(r, "/rate_limit", "null");
    h_expect_json(r, "/allowed_cidrs", "[]");
    h_expect_json(r, "/metadata", "{}");
    h_expect_json(r, "/expires_at", "null");
    ck_assert(works(h_json_text(r, "/secret")));
}
END_TEST

static void refused(const char *json, const char *pointer)
{
    const h_response_t *r = make(h_admin_key(), json);

    h_expect_problem(r, 422, "validation_failed");
    h_expect_json(r, "/errors/0/pointer", pointer);
    h_expect_json(r, "/errors/1", NULL);
}

START_TEST(each_bad_field_is_named)
{
    const h_response_t *r;

    refused("{\"name\":\"x\",\"scopes\":[\"ok:a\",\"nocolon\"]}", "/scopes/1");
    refused("{\"name\":\"x\",\"scopes\":[\"usage:*\"]}", "/scopes/0");
    /* its form, its rate, what may be granted and the clock: all at once */
    r = make(h_admin_key(), "{\"name\":\"\",\"scopes\":[\"platform:admin\"],\"expires_at\":\"2001-01-01T00:00:00Z\","
                            "\"rate_limit\":{\"rate\":1,\"per\":\"day\",\"burst\":1000000000}}");
    h_expect_problem(r, 422, "validation_failed");
    h_expect_json(r, "/errors/0/pointer", "/name");
    h_expect_json(r, "/errors/1/pointer", "/rate_limit/burst");
    h_expect_json(r, "/errors/2/pointer", "/scopes/0");
    h_expect_json(r, "/errors/3/pointer", "/expires_at");
    h_expect_json(r, "/errors/4", NULL);
    h_expect_json(r, "/detail", "4 fields are not valid.");
    refused(h_format("{\"name\":\"x\",\"scopes\":[\"a:%s\"]}",
                     "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"),
            "/scopes/0");
    refused("{\"name\":\"x\",\"scopes\":[],\"expires_at\":\"2020-01-01T00:00:00Z\"}", "/expires_at");
    refused("{\"name\":\"x\",\"scopes\":[],\"rate_limit\":{\"rate\":0,\"per\":\"second\"}}", "/rate_limit/rate");
    refused("{\"name\":\"x\",\"scopes\":[],\"rate_limit\":{\"rate\":1000000001,\"per\":\"second\"}}", "/rate_limit/rate");
    refused("{\"name\":\"x\",\"scopes\":[],\"rate_limit\":{\"rate\":1,\"per\":\"week\"}}", "/rate_limit/per");
    refused("{\"name\":\"x\",\"scopes\":[],\"rate_limit\":{\"rate\":1}}", "/rate_limit/per");
    refused("{\"name\":\"x\",\"scopes\":[],\"allowed_cidrs\":[\"10.0.0.1/8\"]}", "/allowed_cidrs/0");
    refused("{\"name\":\"x\",\"scopes\":[],\"env\":\"prod\"}", "/env");
    refused("{\"name\":\"x\",\"scopes\":[],\"metadata\":3}", "/metadata");
    /* what a change cannot clear it does not pass over; {} clears */
    h_expect_json(h_call("PATCH", key_path(h_json_text(make(h_admin_key(), "{\"name\":\"x\",\"scopes\":[]}"), "/id")),
                         h_admin_key(), "{\"metadata\":null}"),
                  "/errors/0/pointer", "/metadata");
    refused("{\"name\":\"x\",\"scopes\":[],\"rate_limit\":{\"rate\":1,\"per\":\"day\",\"burst\":53376}}",
            "/rate_limit/burst");
    refused("{\"name\":\"x\"}", "/scopes");
    refused("{\"name\":\"x\",\"scopes\":[],\"scope\":[]}", "/scope");
}
END_TEST

START_TEST(nobody_grants_what_they_do_not_hold)
{
    const char *weak_id, *strong_id;
    const char *weak = h_key(tenant, "api_keys:read api_keys:write usage:read", NULL, &weak_id);
    const h_response_t *r = make(weak, "{\"name\":\"x\",\"scopes\":[\"usage:read\",\"usage:write\",\"weather:read\"]}");

    h_key(tenant, "tenant:delete api_keys:write", NULL, &strong_id);
    ck_assert_int_ge(r->status, 403);
    h_expect_json(r, "/errors/0/pointer", "/scopes/1");
    h_expect_json(r, "/errors/1", NULL);
    /* what it holds, and what belongs to no API, it may pass on */
    h_expect(make(weak, "{\"name\":\"x\",\"scopes\":[\"usage:read\",\"weather:read\"]}"), 201);
    /* nor to itself, nor by taking over a key that holds more */
    ck_assert_int_ge(h_call("PATCH", key_path(weak_id), weak, "{\"scopes\":[\"tenant:delete\"]}")->status, 403);
    h_expect_problem(h_call("POST", h_format("%s/rotate", key_path(strong_id)), weak, NULL), 403, "forbidden");
    h_expect(h_call("PATCH", key_path(strong_id), weak, "{\"scopes\":[\"tenant:delete\",\"usage:read\"]}"), 200);
    /* the platform's scope is for the platform's tenant */
    ck_assert_int_ge(make(h_admin_key(), "{\"name\":\"x\",\"scopes\":[\"platform:admin\"]}")->status, 403);
    ck_assert_int_ge(make(weak, "{\"name\":\"x\",\"scopes\":[\"platform:admin\"]}")->status, 403);
    h_expect_problem(make(h_key(tenant, "usage:read", NULL, NULL), "{\"name\":\"x\",\"scopes\":[]}"), 403,
                     "insufficient_scope");
}
END_TEST

START_TEST(a_change_counts_at_once_and_null_takes_away)
{
    const char *id, *key = h_key(tenant, "usage:read", "\"rate_limit\":{\"rate\":5,\"per\":\"second\",\"burst\":9}", &id);
    const h_response_t *r = h_get(key_path(id), h_admin_key());
    const char *etag = h_header(r, "etag");
    const char *headers[] = { h_format("If-Match: %s", etag), NULL };
    h_request_t stale = { .method = "PATCH", .path = key_path(id), .key = h_admin_key(), .headers = headers, .body = "{}" };

    ck_assert_str_eq(h_json_text(h_get("/v1/auth/me", key), "/permissions/0"), "usage:read");
    r = h_call(
        "PATCH", key_path(id), h_admin_key(),
        "{\"name\":\"renamed\",\"scopes\":[\"meters:read\"],\"rate_limit\":null,\"expires_at\":\"2098-01-01T00:00:00Z\"}");
    h_expect(r, 200);
    h_expect_json(r, "/name", "renamed");
    h_expect_json(r, "/rate_limit", "null");
    h_expect_json(r, "/expires_at", "2098-01-01T00:00:00Z");
    h_expect_json(h_get("/v1/auth/me", key), "/permissions/0", "meters:read");
    h_expect_problem(h_send(&stale), 412, "precondition_failed");
    r = h_call("PATCH", key_path(id), h_admin_key(), "{\"expires_at\":null}");
    h_expect(r, 200);
    h_expect_json(r, "/expires_at", "null");
    h_expect_json(r, "/name", "renamed");
    h_expect_problem(h_call("PATCH", key_path(id), h_admin_key(), "{\"env\":\"test\"}"), 422, "validation_failed");
}
END_TEST

START_TEST(rotation_lets_the_old_secret_live_for_its_grace_only)
{
    const char *id, *old = h_key(tenant, "usage:read", NULL, &id), *second, *third;
    const h_response_t *r = h_post(h_format("%s/rotate", key_path(id)), h_admin_key(), "{\"grace_seconds\":600}");

    h_expect(r, 200);
    second = h_json_text(r, "/secret");
    h_expect_json(r, "/id", id);
    ck_assert_str_eq(h_json_text(r, "/hint"), second + strlen(second) - 4);
    ck_assert(works(old));
    ck_assert(works(second));
    r = h_call("POST", h_format("%s/rotate", key_path(id)), h_admin_key(), NULL);
    h_expect(r, 200);
    third = h_json_text(r, "/secret");
    ck_assert(works(third));
    h_expect_problem(h_get("/v1/auth/me", second), 401, "expired_api_key");
    h_expect_problem(h_get("/v1/auth/me", old), 401, "expired_api_key");
    h_expect_problem(h_post(h_format("%s/rotate", key_path(id)), h_admin_key(), "{\"grace_seconds\":604801}"), 422,
                     "validation_failed");
}
END_TEST

START_TEST(a_revoked_key_is_gone)
{
    const char *id, *key = h_key(tenant, "usage:read", NULL, &id);

    ck_assert(works(key));
    h_expect(h_call("DELETE", key_path(id), h_admin_key(), NULL), 204);
    h_expect_problem(h_get("/v1/auth/me", key), 401, "revoked_api_key");
    h_expect_problem(h_call("DELETE", key_path(id), h_admin_key(), NULL), 404, "not_found");
    h_expect_problem(h_get(key_path(id), h_admin_key()), 404, "not_found");
    h_expect_problem(h_call("POST", h_format("%s/rotate", key_path(id)), h_admin_key(), NULL), 404, "not_found");
    ck_assert_ptr_null(strstr(h_get(h_format("%s?limit=200", keys_path(tenant)), h_admin_key())->body, id));
    ck_assert_str_eq(h_sql("SELECT string_agg(type, ' ' ORDER BY position) FROM events.outbox WHERE subject = '%s'", id),
                     "api_key.created api_key.revoked");
    ck_assert_str_eq(h_sql("SELECT string_agg(action, ' ' ORDER BY id) FROM audit.entries WHERE target = '%s'", id),
                     "api_key.create api_key.revoke");
}
END_TEST

START_TEST(another_tenants_keys_do_not_exist)
{
    const char *other = h_tenant(h_format("other-%d", (int)getpid())), *id;
    const char *key = h_key(other, "api_keys:read api_keys:write", NULL, NULL);

    h_key(tenant, "usage:read", NULL, &id);
    h_expect_problem(h_get(key_path(id), key), 404, "not_found");
    h_expect_problem(h_get(h_format("/v1/tenants/%s/api-keys/%s", other, id), key), 404, "not_found");
    h_expect_problem(h_call("DELETE", h_format("/v1/tenants/%s/api-keys/%s", other, id), key, NULL), 404, "not_found");
    h_expect_problem(h_get(keys_path(tenant), key), 404, "not_found");
    h_expect_problem(h_get(h_format("%s/ten_x", keys_path(other)), key), 404, "not_found");
}
END_TEST

static const h_response_t *verify(const char *asker, const char *key, const char *more)
{
    const h_response_t *r = h_post("/v1/keys/verify", asker, h_format("{\"key\":\"%s\"%s}", key, more));

    h_expect(r, 200);
    return r;
}

START_TEST(verify_says_what_a_key_is_worth)
{
    const char *asker = h_key(tenant, "api_keys:read", NULL, NULL), *id;
    const char *key = h_key(tenant, "usage:read weather:read", "\"rate_limit\":{\"rate\":3,\"per\":\"day\"}", &id);
    const char *foreign_id, *foreign_tenant = h_tenant(h_format("foreign-%d", (int)getpid()));
    const char *foreign = h_key(foreign_tenant, "usage:read", NULL, &foreign_id);
    const h_response_t *r = verify(asker, key, ",\"scopes\":[\"weather:read\"]");

    h_expect_json(r, "/valid", "true");
    h_expect_json(r, "/code", "ok");
    h_expect_json(r, "/principal/id", id);
    h_expect_json(r, "/principal/tenant_id", tenant);
    h_expect_json(verify(asker, key, ",\"scopes\":[\"weather:write\"]"), "/code", "insufficient_scope");
    h_expect_json(verify(asker, "mpx_live_x", ""), "/code", "invalid_api_key");
    /* of another tenant: whether it is there, good or ended, stays unsaid; a platform administrator sees it */
    r = verify(asker, foreign, "");
    h_expect_json(r, "/code", "invalid_api_key");
    h_expect_json(r, "/principal", NULL);
    h_expect_json(verify(h_admin_key(), foreign, ""), "/valid", "true");
    h_expect(h_call("DELETE", h_format("/v1/tenants/%s/api-keys/%s", foreign_tenant, foreign_id), h_admin_key(), NULL), 204);
    h_expect_json(verify(asker, foreign, ""), "/code", "invalid_api_key");
    h_expect_json(verify(h_admin_key(), foreign, ""), "/code", "revoked_api_key");
    h_expect(h_call("DELETE", key_path(id), h_admin_key(), NULL), 204);
    r = verify(asker, key, "");
    h_expect_json(r, "/valid", "false");
    h_expect_json(r, "/code", "revoked_api_key");
    h_expect_problem(h_post("/v1/keys/verify", key, "{\"key\":\"x\"}"), 401, "revoked_api_key");
}
END_TEST

START_TEST(verify_charges_the_keys_own_limit)
{
    const char *asker = h_key(tenant, "api_keys:read", NULL, NULL);
    const char *key = h_key(tenant, "usage:read", "\"rate_limit\":{\"rate\":3,\"per\":\"day\"}", NULL);
    const h_response_t *r = verify(asker, key, ",\"cost\":2");

    h_expect_json(r, "/ratelimit/remaining", "1");
    h_expect_json(verify(asker, key, ",\"cost\":2"), "/code", "rate_limited");
    h_expect_json(verify(asker, key, ",\"cost\":0"), "/valid", "true");
    h_expect_json(verify(asker, key, ""), "/ratelimit/remaining", "0");
    /* what can never pass is not asked to come back at once */
    r = verify(asker, h_key(tenant, "usage:read", "\"rate_limit\":{\"rate\":3,\"per\":\"day\"}", NULL), ",\"cost\":4");
    h_expect_json(r, "/code", "rate_limited");
    h_expect_json(r, "/ratelimit/retry_after", "86400");
}
END_TEST

START_TEST(verify_holds_a_key_to_its_addresses_and_tenant)
{
    const char *asker = h_key(tenant, "api_keys:read", NULL, NULL),
               *other = h_tenant(h_format("elsewhere-%d", (int)getpid()));
    const char *key = h_key(tenant, "usage:read", "\"allowed_cidrs\":[\"10.0.0.0/8\",\"2001:db8::/32\"]", NULL);
    const char *headers[] = { h_format("Meterplex-Tenant: %s", other), NULL };
    h_request_t request = { .path = "/v1/keys/verify",
                            .key = h_admin_key(),
                            .headers = headers,
                            .body = h_format("{\"key\":\"%s\",\"client\":\"10.1.2.3\"}", key) };

    h_expect_json(verify(asker, key, ",\"client\":\"10.1.2.3\""), "/valid", "true");
    h_expect_json(verify(asker, key, ",\"client\":\"2001:db8::1\""), "/valid", "true");
    h_expect_json(verify(asker, key, ",\"client\":\"192.0.2.1\""), "/code", "forbidden");
    h_expect_json(verify(asker, key, ""), "/code", "forbidden");
    h_expect_problem(h_post("/v1/keys/verify", asker, h_format("{\"key\":\"%s\",\"client\":\"here\"}", key)), 422,
                     "validation_failed");
    /* an administrator who acts in another tenant sees that tenant's keys only */
    h_expect_json(h_send(&request), "/code", "invalid_api_key");
    request.headers = NULL;
    h_expect_json(h_send(&request), "/valid", "true");
}
END_TEST

START_TEST(me_tells_who_asks)
{
    const char *id, *key = h_key(tenant, "usage:read weather:read", NULL, &id);
    const h_response_t *r = h_get("/v1/auth/me", key);

    h_expect(r, 200);
    h_expect_json(r, "/principal/id", id);
    h_expect_json(r, "/api_key/id", id);
    h_expect_json(r, "/api_key/secret", NULL);
    h_expect_json(r, "/tenant/id", tenant);
    h_expect_json(r, "/permissions/0", "usage:read");
    h_expect_json(r, "/permissions/1", NULL);
    h_expect_json(h_get("/v1/auth/me", h_admin_key()), "/permissions/0", "tenant:read");
    h_expect_problem(h_get("/v1/auth/me", NULL), 401, "unauthenticated");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("api_keys");
    TCase *tcase = tcase_create("api_keys");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_key_is_made_and_its_secret_shown_once);
    tcase_add_test(tcase, defaults_are_plain);
    tcase_add_test(tcase, each_bad_field_is_named);
    tcase_add_test(tcase, nobody_grants_what_they_do_not_hold);
    tcase_add_test(tcase, a_change_counts_at_once_and_null_takes_away);
    tcase_add_test(tcase, rotation_lets_the_old_secret_live_for_its_grace_only);
    tcase_add_test(tcase, a_revoked_key_is_gone);
    tcase_add_test(tcase, another_tenants_keys_do_not_exist);
    tcase_add_test(tcase, verify_says_what_a_key_is_worth);
    tcase_add_test(tcase, verify_charges_the_keys_own_limit);
    tcase_add_test(tcase, verify_holds_a_key_to_its_addresses_and_tenant);
    tcase_add_test(tcase, me_tells_who_asks);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
