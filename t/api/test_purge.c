/* A tenant that was deleted 30 days ago goes for good, with all its rows but the audit trail; nobody else loses one. */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 12000 /* rows of each kind: more than one step of 10,000 */

/* Of every table that has tenant_id: how many rows are the tenant's. */
static const char rows_of[] =
    "CREATE FUNCTION public.rows_of(tenant uuid) RETURNS text LANGUAGE plpgsql AS $$ "
    "DECLARE t text; n bigint; told text := ''; BEGIN "
    "FOR t IN SELECT a.attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1 LOOP "
    "EXECUTE format('SELECT count(*) FROM %%s WHERE tenant_id = $1', t) INTO n USING tenant; "
    "told := told || t || '=' || n || ' '; END LOOP; RETURN told; END $$";

/* Events of 2020 lie in a partition of their own, those of today in the default one. */
static void up(void)
{
    h_up("<Location \"/sold\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n  MeterplexMeter "
         "sold.request\n</Location>\n");
    h_sql(rows_of);
    h_sql("CREATE TABLE usage.events_2020 PARTITION OF usage.events FOR VALUES FROM ('2020-01-01Z') TO ('2021-01-01Z')");
}

typedef struct tenant {
    const char *slug, *id, *uuid, *key;
} tenant_t;

/* A tenant with rows in every table, n of them in those that grow large. */
static tenant_t tenant_with(const char *slug, int n)
{
    tenant_t t = { .slug = slug, .id = h_tenant(slug) };
    const char *headers[] = { "Idempotency-Key: once", NULL };
    h_request_t meter = { .path = "/v1/meters",
                          .headers = headers,
                          .body = "{\"key\":\"m\",\"name\":\"m\",\"event_type\":\"t\",\"aggregation\":\"count\"}" };

    t.key = h_key(t.id, "tenant:read tenant:write usage:write usage:read meters:write demo:read", NULL, NULL);
    t.uuid = h_sql("SELECT id FROM identity.tenants WHERE slug = '%s'", slug);
    meter.key = t.key;
    h_expect(h_send(&meter), 201);
    h_sql("INSERT INTO usage.events (tenant_id, time, id, external_id, source, type) "
          "SELECT '%s', CASE WHEN n %% 2 = 0 THEN now() ELSE '2020-06-01Z' END, gen_random_uuid(), n::text, 's', 't' "
          "FROM generate_series(1, %d) AS n",
          t.uuid, n);
    h_sql("INSERT INTO usage.event_keys (tenant_id, digest) SELECT '%s', gen_random_uuid() FROM generate_series(1, %d)",
          t.uuid, n);
    ck_assert_msg(!strstr(h_sql("SELECT public.rows_of('%s')", t.uuid), "=0 "), "a table that this test leaves empty: %s",
                  h_sql("SELECT public.rows_of('%s')", t.uuid));
    return t;
}

static void deleted(const tenant_t *t, int days)
{
    h_sql("UPDATE identity.tenants SET deleted_at = now() - interval '%d days' WHERE id = '%s'", days, t->uuid);
}

static int there(const tenant_t *t)
{
    return strcmp(h_sql("SELECT count(*) FROM identity.tenants WHERE id = '%s'", t->uuid), "1") == 0;
}

static const char *rows(const tenant_t *t)
{
    return h_sql("SELECT public.rows_of('%s')", t->uuid);
}

static int only_audit_left(const tenant_t *t)
{
    return strcmp(h_sql("SELECT public.rows_of('%s') ~ '^audit[.]entries=[1-9][0-9]* ([a-z_.]+=0 )+$'", t->uuid), "t") == 0;
}

static int left(const tenant_t *t, const char *table)
{
    return atoi(h_sql("SELECT count(*) FROM %s WHERE tenant_id = '%s'", table, t->uuid));
}

static long metric(const char *name)
{
    const char *body = h_get("/metrics", NULL)->body, *at = strstr(body, h_format("\n%s ", name));
    ck_assert_msg(at != NULL, "no %s", name);
    return atol(at + strlen(name) + 2);
}

static const h_response_t *post_slug(const char *slug)
{
    return h_post("/v1/tenants", h_admin_key(), h_format("{\"name\":\"n\",\"slug\":\"%s\"}", slug));
}

/* What a slug's deleted holder means to who may know of it, and to who may not. */
static void slug_is_held(const tenant_t *holder, const tenant_t *other)
{
    const char *patch = h_format("{\"slug\":\"%s\"}", holder->slug), *path = h_format("/v1/tenants/%s", other->id);
    const char *until = h_sql("SELECT to_char(deleted_at AT TIME ZONE 'UTC' + interval '721 hours 1 second', "
                              "'\"A deleted tenant holds it until \"YYYY-MM-DD\"T\"HH24:MI:SS\"Z.\"') "
                              "FROM identity.tenants WHERE id = '%s'",
                              holder->uuid);
    const h_response_t *r = post_slug(holder->slug);
    h_output_t output;

    h_expect_problem(r, 409, "conflict");
    h_expect_json(r, "/detail", until);
    h_expect_json(r, "/errors/0/pointer", "/slug");
    h_expect_json(r, "/errors/0/code", "taken");
    r = h_call("PATCH", path, h_admin_key(), patch);
    h_expect_problem(r, 409, "conflict");
    h_expect_json(r, "/detail", until);
    r = h_call("PATCH", path, other->key, patch);
    h_expect_problem(r, 409, "conflict");
    h_expect_json(r, "/errors/0/code", "taken");
    h_expect_json(r, "/detail", "This value is taken already.");
    output = h_ctl("tenant", "create", "--database", h_pg_url("meterplex"), "--slug", holder->slug, NULL);
    ck_assert_int_eq(output.status, 1);
    ck_assert_msg(strstr(output.error, until) != NULL, "%s", output.error);
}

START_TEST(a_tenant_goes_thirty_days_after_its_deletion)
{
    tenant_t gone = tenant_with("gone", MANY), young = tenant_with("young", 100), living = tenant_with("living", 100);
    const char *of_young, *of_living;

    h_httpd_stop(h_main_httpd);
    deleted(&gone, 31);
    deleted(&young, 29);
    of_young = rows(&young);
    of_living = rows(&living);
    h_httpd_start(h_main_httpd);
    H_WAIT(30, !there(&gone));
    ck_assert_msg(only_audit_left(&gone), "%s", rows(&gone));
    ck_assert_int_eq(metric("meterplex_tenants_purged_total"), 1);
    ck_assert_str_eq(h_sql("SELECT actor || ' ' || as_platform || ' ' || target || ' ' || (details ->> 'slug') FROM "
                           "audit.entries WHERE tenant_id = '%s' AND action = 'tenant.purge'",
                           gone.uuid),
                     h_format("system true %s gone", gone.id));
    h_expect(h_get("/v1/meters", gone.key), 401);
    ck_assert(there(&young) && there(&living));
    ck_assert_str_eq(rows(&young), of_young);
    ck_assert_str_eq(rows(&living), of_living);
    slug_is_held(&young, &living);
    h_expect(post_slug("gone"), 201);
    /* what there was before is not the new tenant's */
    ck_assert_str_ne(h_sql("SELECT id FROM identity.tenants WHERE slug = 'gone'"), gone.uuid);
}
END_TEST

/* Half of it is purged, and nobody is asked: it is deleted all the while, and the next start goes on. */
START_TEST(a_purge_that_is_killed_goes_on)
{
    tenant_t t = tenant_with("killed", 5 * MANY);

    h_httpd_stop(h_main_httpd);
    deleted(&t, 31);
    h_httpd_start(h_main_httpd);
    H_WAIT(20, left(&t, "usage.events") < 5 * MANY);
    h_httpd_kill(h_main_httpd);
    if (there(&t)) {
        ck_assert_str_eq(h_sql("SELECT deleted_at IS NOT NULL FROM identity.tenants WHERE id = '%s'", t.uuid),
                         "t");
    }
    else {
        ck_assert_msg(only_audit_left(&t), "%s", rows(&t));
    }
    h_httpd_start(h_main_httpd);
    H_WAIT(30, !there(&t));
    ck_assert_msg(only_audit_left(&t), "%s", rows(&t));
}
END_TEST

/* A table whose module is not loaded, or that was forgotten: the row stays, so that nothing is left that nobody knows of;
 * and the others are purged all the same. */
START_TEST(a_tenant_stays_while_a_table_has_rows_of_it)
{
    tenant_t held, other;

    held = tenant_with("held", 10);
    other = tenant_with("behind", 10);
    h_sql("CREATE TABLE usage.extra (tenant_id uuid); ALTER TABLE usage.extra OWNER TO meterplex_owner; "
          "GRANT SELECT ON usage.extra TO meterplex_app; INSERT INTO usage.extra VALUES ('%s')",
          held.uuid);
    h_httpd_stop(h_main_httpd);
    deleted(&held, 40);
    deleted(&other, 31);
    h_httpd_start(h_main_httpd);
    H_WAIT(20, !there(&other));
    H_WAIT(5, h_httpd_logged(h_main_httpd, h_format("usage.extra has rows of the deleted tenant %s", held.id)));
    ck_assert(there(&held));
    h_httpd_stop(h_main_httpd);
    h_sql("DROP TABLE usage.extra");
    h_httpd_start(h_main_httpd);
    H_WAIT(20, !there(&held));
    ck_assert_msg(only_audit_left(&held), "%s", rows(&held));
}
END_TEST

/* Counts of a node that was away for so long: they are dropped, and those of others come through. */
START_TEST(counts_of_a_purged_tenant_are_dropped)
{
    tenant_t late = tenant_with("late", 1), prompt = tenant_with("prompt", 1);
    int before = left(&prompt, "usage.events");

    h_expect(h_get("/sold/x", late.key), 404);
    h_expect(h_get("/sold/x", prompt.key), 404);
    H_WAIT(5, metric("meterplex_usage_pending") == 0);
    h_pg_stop(H_PG_IMMEDIATE);
    h_expect(h_get("/sold/x", late.key), 404);
    h_expect(h_get("/sold/x", prompt.key), 404);
    ck_assert_int_eq(metric("meterplex_usage_pending"), 2);
    h_httpd_kill(h_main_httpd);
    h_pg_start();
    h_sql("SET session_replication_role = replica; DELETE FROM identity.tenants WHERE id = '%s'; "
          "DELETE FROM usage.events WHERE tenant_id = '%s'; DELETE FROM usage.event_keys WHERE tenant_id = '%s'; "
          "SET session_replication_role = origin",
          late.uuid, late.uuid, late.uuid);
    h_httpd_start(h_main_httpd);
    H_WAIT(10, metric("meterplex_usage_pending") == 0);
    ck_assert_int_eq(left(&prompt, "usage.events"), before + 2);
    ck_assert_int_eq(left(&late, "usage.events"), 0);
    ck_assert_int_eq(left(&late, "usage.event_keys"), 0);
    H_WAIT(10, h_get("/health/ready", NULL)->status == 200);
}
END_TEST

/* Whatever a statement forgets, the database lets httpd's role delete nothing of who is not due. */
START_TEST(the_role_of_httpd_deletes_what_is_due_only)
{
    static const char *const tables[] = { "usage.events", "events.outbox", "identity.api_keys", "identity.tenants" };
    tenant_t young = tenant_with("role-young", 10), living = tenant_with("role-living", 10);
    const tenant_t *both[] = { &young, &living };

    deleted(&young, 29);
    for (size_t i = 0; i < 2; i++) {
        const char *before = rows(both[i]);
        for (size_t n = 0; n < sizeof tables / sizeof *tables; n++) {
            ck_assert_str_eq(h_sql_state("meterplex", h_format("BEGIN; SET LOCAL meterplex.tenant_id = '%s'; SET LOCAL "
                                                               "meterplex.platform = 'on'; DELETE FROM %s; COMMIT",
                                                               both[i]->uuid, tables[n])),
                             "00000");
        }
        ck_assert_str_eq(rows(both[i]), before);
        ck_assert(there(both[i]));
    }
    ck_assert_str_eq(h_sql_state("meterplex", "DELETE FROM audit.entries"), "42501");
    ck_assert_str_eq(h_sql("SELECT count(*) FROM identity.tenants WHERE platform"), "1");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("purge");
    TCase *tcase = tcase_create("purge");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_tenant_goes_thirty_days_after_its_deletion);
    tcase_add_test(tcase, a_purge_that_is_killed_goes_on);
    tcase_add_test(tcase, a_tenant_stays_while_a_table_has_rows_of_it);
    tcase_add_test(tcase, counts_of_a_purged_tenant_are_dropped);
    tcase_add_test(tcase, the_role_of_httpd_deletes_what_is_due_only);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
