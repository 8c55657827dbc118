//! Rust source as a flat row of tokens: no comments, and text only as literals.

use proc_macro2::{TokenStream, TokenTree};

/// A name, a sign, a bracket or a literal, and the line it stands on.
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// The tokens of a file; none when it is not Rust (the compiler will say so, tidy need not).
pub fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    if let Ok(stream) = source.parse() {
        flatten(stream, &mut tokens);
    }
    tokens
}

/// The line of every place where the tokens in `pattern` (written with spaces between) follow one another.
pub fn places(tokens: &[Token], pattern: &str) -> Vec<usize> {
    let pattern: Vec<&str> = pattern.split(' ').collect();
    tokens
        .windows(pattern.len())
        .filter(|window| window.iter().map(|token| token.text.as_str()).eq(pattern.iter().copied()))
        .map(|window| window[0].line)
        .collect()
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                tokens.push(Token { text: open.to_owned(), line });
                flatten(group.stream(), tokens);
                tokens.push(Token { text: close.to_owned(), line: group.span_close().start().line });
            }
            other => tokens.push(Token { text: other.to_string(), line }),
        }
    }
}
