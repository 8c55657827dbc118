/* The MSI's one custom action: hands the agent what it needs to enroll, by its standard input.
 *
 * An enrollment key on a command line would stay in process-creation logs, in a file or in the registry it could be read
 * by others, and Windows Installer itself can give a program nothing else. So this stands between the two. It runs as
 * LocalSystem inside msiexec, and starts nothing but the program that the same MSI has just installed.
 *
 * CustomActionData is PROGRAM|LINE|LINE…; no '|' can stand in a file's name on Windows. */

#define UNICODE
#include <windows.h>
#include <msi.h>
#include <msiquery.h>
#include <wchar.h>

enum { MAX_DATA = 4096, MAX_SAID = 1024, PIPE_BYTES = 64 * 1024 };
/* Enrolling gives up by itself before that. */
static const DWORD LONGEST_MILLISECONDS = 180 * 1000;
/* The agent's exit code when neither properties nor the package's name say where to enroll. */
static const DWORD NOTHING_TO_ENROLL_WITH = 3;

static void say(MSIHANDLE install, INSTALLMESSAGE kind, const wchar_t *text) {
    MSIHANDLE record = MsiCreateRecord(1);
    if (record) {
        MsiRecordSetStringW(record, 0, L"GuruRMM: [1]");
        MsiRecordSetStringW(record, 1, text);
        MsiProcessMessage(install, kind, record);
        MsiCloseHandle(record);
    }
}

/* The end of what the agent said on standard error, as far as it lies in the pipe. */
static void read_said(HANDLE pipe, wchar_t *said) {
    static char bytes[PIPE_BYTES];
    DWORD length = 0, available = 0;
    said[0] = 0;
    if (!PeekNamedPipe(pipe, NULL, 0, NULL, &available, NULL) || available == 0 ||
        !ReadFile(pipe, bytes, sizeof bytes, &length, NULL))
        return;
    DWORD start = length > MAX_SAID ? length - MAX_SAID : 0;
    int count = MultiByteToWideChar(CP_UTF8, 0, bytes + start, (int)(length - start), said, MAX_SAID);
    said[count] = 0;
}

static BOOL make_pipe(HANDLE *read, HANDLE *write, HANDLE *own) {
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    if (!CreatePipe(read, write, &inherited, PIPE_BYTES))
        return FALSE;
    return SetHandleInformation(*own, HANDLE_FLAG_INHERIT, 0);
}

static DWORD run_agent(MSIHANDLE install, const wchar_t *program, const char *input, DWORD input_length) {
    HANDLE stdin_read, stdin_write, stderr_read, stderr_write;
    DWORD code = ERROR_INSTALL_FAILURE, written = 0;
    wchar_t command[MAX_PATH + 32], folder[MAX_PATH], said[MAX_SAID + 1];
    if (!GetSystemDirectoryW(folder, MAX_PATH) || wcslen(program) >= MAX_PATH ||
        !make_pipe(&stdin_read, &stdin_write, &stdin_write) || !make_pipe(&stderr_read, &stderr_write, &stderr_read))
        return code;
    wcscpy(command, L"\"");
    wcscat(command, program);
    wcscat(command, L"\" enroll-from-package");
    STARTUPINFOW startup = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES, .hStdInput = stdin_read,
                            .hStdOutput = stderr_write, .hStdError = stderr_write};
    PROCESS_INFORMATION process;
    BOOL started = CreateProcessW(program, command, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, folder, &startup, &process);
    CloseHandle(stdin_read);
    CloseHandle(stderr_write);
    if (!started) {
        say(install, INSTALLMESSAGE_ERROR, L"the agent cannot be started");
    } else {
        /* Less than the pipe holds, so this does not wait. */
        WriteFile(stdin_write, input, input_length, &written, NULL);
        CloseHandle(stdin_write);
        if (WaitForSingleObject(process.hProcess, LONGEST_MILLISECONDS) != WAIT_OBJECT_0) {
            TerminateProcess(process.hProcess, ERROR_TIMEOUT);
            WaitForSingleObject(process.hProcess, 5000);
        }
        GetExitCodeProcess(process.hProcess, &code);
        read_said(stderr_read, said);
        BOOL well = code == 0 || code == NOTHING_TO_ENROLL_WITH;
        say(install, well ? INSTALLMESSAGE_INFO : INSTALLMESSAGE_ERROR, said);
        CloseHandle(process.hThread);
        CloseHandle(process.hProcess);
    }
    CloseHandle(stderr_read);
    return code;
}

__declspec(dllexport) UINT __stdcall HandOver(MSIHANDLE install) {
    static wchar_t data[MAX_DATA];
    static char input[3 * MAX_DATA];
    DWORD length = MAX_DATA;
    UINT result = MsiGetPropertyW(install, L"CustomActionData", data, &length);
    wchar_t *lines = result == ERROR_SUCCESS ? wcschr(data, L'|') : NULL;
    if (!lines) {
        SecureZeroMemory(data, sizeof data);
        say(install, INSTALLMESSAGE_ERROR, L"the installer's data is missing or too long");
        return ERROR_INSTALL_FAILURE;
    }
    *lines++ = 0;
    for (wchar_t *at = lines; (at = wcschr(at, L'|')) != NULL; at++)
        *at = L'\n';
    int bytes = WideCharToMultiByte(CP_UTF8, 0, lines, -1, input, sizeof input, NULL, NULL);
    DWORD code = bytes > 0 ? run_agent(install, data, input, (DWORD)bytes - 1) : ERROR_INSTALL_FAILURE;
    SecureZeroMemory(data, sizeof data);
    SecureZeroMemory(input, sizeof input);
    return code == 0 || code == NOTHING_TO_ENROLL_WITH ? ERROR_SUCCESS : ERROR_INSTALL_FAILURE;
}
