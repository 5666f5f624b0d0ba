/*
 * fuzz_bootstrap: any bytes as a RAFS bootstrap: open, walk, ask everything.
 */
#include "../image/exercise.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	(void)exercise_image(data, size_bytes);
	return 0;
}
