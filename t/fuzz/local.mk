# Fuzz targets: t/fuzz/fuzz_NOUN.c has LLVMFuzzerTestOneInput. To add one:
#   FUZZ_TESTS += t/fuzz/fuzz_NOUN
