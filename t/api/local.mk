# Check programs against a real httpd and a real PostgreSQL (t/harness/harness.h). To add t/api/test_NOUN.c, two lines:
#   API_TESTS += t/api/test_NOUN
#   t_api_test_NOUN_LDADD = $(HARNESS_LDADD)
HARNESS_LDADD = libharness.la libmpx_lib.la $(SODIUM_LIBS) $(APR_LIBS) -lm
AM_CPPFLAGS += -I$(top_srcdir)/t/harness

API_TESTS += t/api/test_harness
t_api_test_harness_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_server
t_api_test_server_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_ctl
t_api_test_ctl_LDADD = $(HARNESS_LDADD) $(PQ_LIBS)
API_TESTS += t/api/test_ctl_import
t_api_test_ctl_import_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_main_job
t_api_test_main_job_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_pooler
t_api_test_pooler_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_root_keys
t_api_test_root_keys_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_secrets
t_api_test_secrets_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_observe
t_api_test_observe_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_database
t_api_test_database_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_refresh
t_api_test_refresh_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_tenants
t_api_test_tenants_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_api_keys
t_api_test_api_keys_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_auth
t_api_test_auth_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_openapi
t_api_test_openapi_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_contract
t_api_test_contract_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_usage
t_api_test_usage_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_numeric
t_api_test_numeric_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_sections
t_api_test_sections_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_redirects
t_api_test_redirects_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_expiry
t_api_test_expiry_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_endings
t_api_test_endings_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_limit
t_api_test_limit_LDADD = $(HARNESS_LDADD)
API_TESTS += t/api/test_faults
t_api_test_faults_LDADD = $(HARNESS_LDADD)

if TESTS_ENABLED
check_PROGRAMS += $(API_TESTS) $(FAULT_TESTS)
endif
