# Check programs against a real httpd and a real PostgreSQL. To add t/api/test_NOUN.c:
#   API_TESTS += t/api/test_NOUN
