//! One probe where the text shows that it does, none where it does not: by functions in the forms that compilers make
//! of OpenSSH's.

use sensor_common::kept::{Arguments, CalleeSavedReg, Operand};

use super::{
    site::{HEADER, POLY_KEY},
    tests::build,
    *,
};

const PLAIN: Operand = Operand { base: None, index: None, narrow: false, displacement: 0, load: false };

/// As GCC compiles `cipher_crypt`: `{setup}` before the arguments are put in place, `{before}` the call, `{after}` it,
/// `{inner}` on another way through the function.
const OUTER: &str = "
use: .cfi_startproc
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    mov %rdi, %rbp
    mov %rsi, %r14
    mov %rdx, %r12
    mov %ecx, %r13d
    mov %ecx, %ebx
    {setup}
    test %ecx, %ecx
    je 2f
    mov 8(%rbp), %rdi
    lea (%r12,%rbx,1), %rdx
    lea (%r14,%rbx,1), %rsi
    mov %r13d, %ecx
    {before}
    call EVP_Cipher@plt
    {after}
    test %eax, %eax
    js 1f
    {error}
1:  pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
2:  {inner}
    jmp 1b
    .cfi_endproc
";

/// As GCC compiles `chachapoly_crypt`: what `in` was is nowhere any more after the second call.
const INNER: &str = "
inner: .cfi_startproc
    push %rbx
    push %rbp
    push %r12
    push %r13
    sub $40, %rsp
    mov %rdx, %r13
    mov %r9d, %r12d
    mov %rdi, %rbp
    mov %r8d, %ebx
    mov %rcx, 8(%rsp)
    mov (%rbp), %rdi
    mov $32, %ecx
    mov %rsp, %rdx
    mov %rsp, %rsi
    call EVP_Cipher@plt
    test %eax, %eax
    js 1f
    mov 8(%rbp), %rdi
    mov 8(%rsp), %rdx
    mov %r12d, %ecx
    mov %r13, %rsi
    call EVP_Cipher@plt
    test %eax, %eax
    js 1f
    mov 8(%rsp), %rdx
    mov %r12d, %r8d
    mov (%rbp), %rdi
    mov %ebx, %ecx
    lea (%r13,%r8,1), %rsi
    mov %r8, 8(%rsp)
    add %r8, %rdx
    call EVP_Cipher@plt
    test %eax, %eax
    js 1f
    xor %eax, %eax
1:  add $40, %rsp
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .cfi_endproc
";

/// The sites of `OUTER`, with these instructions in it, and `INNER`.
fn sites(name: &str, filled: &[(&str, &str)], more: &str) -> Option<Vec<Site>> {
    let mut outer = OUTER.to_owned();
    for place in ["setup", "before", "after", "error", "inner"] {
        let text = filled.iter().find(|(filled, _)| *filled == place).map_or("", |(_, text)| text);
        outer = outer.replace(&format!("{{{place}}}"), text);
    }
    let text = format!("{outer}{INNER}{more}").replace('\n', "\\n");
    let body = format!("int use(void *, char *, const char *, unsigned);\nasm(\".text\\n{text}\");");
    let file = build(&format!("kept-{name}"), &body, &["-O2"])?;
    Some(find(&*file).unwrap_or_else(|error| panic!("{name}: {error}")))
}

const INNER_CALL: (&str, &str) = ("inner", "push %rax\npush %rax\ncall inner\npop %rsi\npop %rdi");

fn outer_arguments() -> Arguments {
    let sum = |base| Operand { base: Some(base), index: Some(CalleeSavedReg::Rbx), ..PLAIN };
    Arguments {
        context: Operand { base: Some(CalleeSavedReg::Rbp), displacement: 8, load: true, ..PLAIN },
        out: sum(CalleeSavedReg::R14),
        input: sum(CalleeSavedReg::R12),
        len: Operand { base: Some(CalleeSavedReg::R13), ..PLAIN },
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn arguments_that_outlive_a_call_need_one_probe() {
    let Some(sites) = sites("own", &[INNER_CALL], "") else { return };
    let [own, poly, header, body] = &sites[..] else { panic!("{sites:?}") };
    assert_eq!(own.single, Some(Single { at: own.jump, arguments: outer_arguments() }));
    assert_eq!((poly.role, header.role), (SiteRole::Other(POLY_KEY), SiteRole::Other(HEADER)));
    // After the call of the function that it is in: seven bytes of pushes and pops around it.
    let single = body.single.unwrap();
    assert_eq!(single.arguments, Arguments { context: PLAIN, ..outer_arguments() });
    assert!(single.at > own.jump && single.at < poly.call, "{sites:x?}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_is_not_shown_gets_two() {
    // Somebody comes from elsewhere.
    let Some(joined) = sites("joined", &[("before", "3:"), ("inner", "jmp 3b")], "") else { return };
    assert_eq!((joined[0].role, joined[0].single), (SiteRole::Body, None));
    for (name, filled) in [
        ("changed-before", ("before", "mov %rdi, %r12")),
        ("stored-after", ("after", "mov %r14, 8(%rbp)")),
        ("changed-after", ("after", "mov $0, %r13d")),
        ("result-changed", ("after", "mov $1, %eax")),
        ("context-overwritten", ("before", "mov %rcx, 8(%rbp)")),
        ("in-place", ("before", "mov %rdx, %rsi")),
        ("scaled", ("before", "lea (%r14,%rbx,2), %rsi")),
        ("far", ("before", "lea 4096(%r14), %rsi")),
        ("half", ("before", "mov %r14d, %esi")),
        ("not-kept", ("before", "lea (%r14,%r11,1), %rsi")),
    ] {
        let Some(sites) = sites(name, &[filled], "") else { return };
        assert_eq!(sites[0].role, SiteRole::Body, "{name}");
        assert_eq!(sites[0].single, None, "{name}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_caller_stands_for_a_call_only_if_it_is_the_only_one_and_has_the_same_arguments() {
    let again = "other: .cfi_startproc\ncall inner\ntest %eax, %eax\nret\n.cfi_endproc\n";
    let named = "other: .cfi_startproc\nlea inner(%rip), %rax\nret\n.cfi_endproc\n";
    let jumps = "other: .cfi_startproc\njmp inner\n.cfi_endproc\n";
    let pops = ("setup", "test %edx, %edx\nje 2f\npush %rsi\npop %r12");
    let cold = ("error", "jne cold");
    let elsewhere = "cold: .cfi_startproc\nmov %rsi, %r12\nret\n.cfi_endproc\n";
    let changes = ("setup", "test %edx, %edx\nje 2f\nmov %rsi, %r12");
    let harmless = ("error", "mov %rsi, %r12");
    let late = ("inner", "push %rax\npush %rax\ncall inner\npop %r12\nmov %rdi, %r14\npop %rdi");
    for (name, filled, more, expected) in [
        ("again", vec![INNER_CALL], again, false),
        ("named", vec![INNER_CALL], named, false),
        ("jumps", vec![INNER_CALL], jumps, false),
        ("changes", vec![INNER_CALL, changes], "", false),
        ("pops", vec![INNER_CALL, pops], "", false),
        ("cold", vec![INNER_CALL, cold], elsewhere, false),
        ("harmless", vec![INNER_CALL, harmless], "", true),
        ("late", vec![late], "", false),
        ("apart", vec![], "", false),
    ] {
        let Some(sites) = sites(name, &filled, more) else { return };
        let body = sites.iter().rfind(|site| site.role == SiteRole::Body).unwrap();
        assert_eq!(body.single.is_some(), expected, "{name}: {sites:x?}");
    }
}
