/* Wine 8's pdh.dll ends a program that lists performance counters; one that fails in order does not. For tests under Wine
 * only: CPU usage cannot be measured there. */
#include <windows.h>

enum { PDH_CSTATUS_NO_OBJECT = (int)0xC0000BB8 };
#define FAILS(name) __declspec(dllexport) LONG WINAPI name(void) { return PDH_CSTATUS_NO_OBJECT; }

FAILS(PdhOpenQueryA)
FAILS(PdhOpenQueryW)
FAILS(PdhCloseQuery)
FAILS(PdhCollectQueryData)
FAILS(PdhCollectQueryDataEx)
FAILS(PdhAddEnglishCounterA)
FAILS(PdhAddEnglishCounterW)
FAILS(PdhAddCounterA)
FAILS(PdhAddCounterW)
FAILS(PdhRemoveCounter)
FAILS(PdhGetFormattedCounterValue)
FAILS(PdhEnumObjectsA)
FAILS(PdhEnumObjectsW)
FAILS(PdhEnumObjectItemsA)
FAILS(PdhEnumObjectItemsW)
FAILS(PdhLookupPerfNameByIndexW)
