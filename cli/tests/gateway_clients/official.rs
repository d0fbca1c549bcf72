//! The official clients of Python and JavaScript, driven by the same tests.

use serde_json::{Value, json};

use crate::gateway::Script;
use crate::{node, python};

/// A call, whatever the language.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    Ltp(&'a [&'a str]),
    Ohlc(&'a [&'a str]),
    Quote(&'a [&'a str]),
    /// An order for one share, far below the market, with these changes.
    Place(&'a [(&'a str, Value)]),
    /// Sets the quantity.
    Modify(&'a str, u32),
    Cancel(&'a str),
    Orders,
    History(&'a str),
    Margins,
    Instruments,
    PlaceGtt,
    /// A login with a request token.
    Login,
}

/// An exception of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Its name: that of the Python class, or the type of the JavaScript client's error.
    pub kind: String,
    /// The HTTP status, which the Python client has.
    pub code: Option<u64>,
    pub message: String,
}

/// One client.
pub struct Official {
    script: Script,
    is_python: bool,
    root: String,
    api_key: String,
    access_token: String,
}

/// Runs a test with each client that is there. Each of them is a program of its own, with its own name.
pub fn with_each(test: impl Fn(&mut Official)) {
    let python = python::with_client();
    let python = python.map(|python| Script::python(&python, "gateway_calls.py"));
    let node = node::has_client().then(|| Script::node("gateway_calls.cjs"));
    for (script, is_python) in [(python, true), (node, false)] {
        let Some(mut script) = script else { continue };
        script.wait_until_ready();
        let (root, api_key, access_token) = (String::new(), "bot".to_owned(), "any".to_owned());
        test(&mut Official { script, is_python, root, api_key, access_token });
    }
}

impl Official {
    /// Sets where it sends its calls, which is all that is changed of it.
    pub fn root(&mut self, root: &str) {
        root.clone_into(&mut self.root);
    }

    /// Sets its credentials.
    pub fn credentials(&mut self, api_key: &str, access_token: &str) {
        api_key.clone_into(&mut self.api_key);
        access_token.clone_into(&mut self.access_token);
    }

    /// Makes a call.
    pub fn call(&mut self, call: Call<'_>) -> Result<Value, Raised> {
        let (method, args) = if self.is_python { in_python(call) } else { in_javascript(call) };
        let (args, kwargs) = if args.is_array() { (args, json!({})) } else { (json!([]), args) };
        self.script.tell(&json!({
            "root": self.root, "api_key": self.api_key, "access_token": self.access_token,
            "method": method, "args": args, "kwargs": kwargs,
        }));
        let mut outcome = self.script.answer();
        match outcome["raised"].as_str() {
            None => Ok(outcome["answer"].take()),
            Some(kind) => Err(Raised {
                kind: kind.to_owned(),
                code: outcome["code"].as_u64(),
                message: outcome["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// Makes a call, which raises an exception of this name, with this status and these words.
    #[track_caller]
    pub fn raises(&mut self, call: Call<'_>, kind: &str, code: u64, words: &str) -> Raised {
        let raised = self.call(call).expect_err("the call was answered");
        assert_eq!(raised.kind, kind, "{raised:?}");
        assert_eq!(raised.code.unwrap_or(code), code, "{raised:?}");
        assert!(raised.message.contains(words), "{raised:?}");
        raised
    }

    /// Places an order, and returns its id. The Python client unpacks it.
    pub fn place(&mut self, changes: &[(&str, Value)]) -> String {
        let answer = self.call(Call::Place(changes)).unwrap();
        let id = if self.is_python { &answer } else { &answer["order_id"] };
        id.as_str().unwrap().to_owned()
    }

    /// Returns the name of the language.
    pub fn language(&self) -> &'static str {
        if self.is_python { "Python" } else { "JavaScript" }
    }
}

fn order(changes: &[(&str, Value)]) -> Value {
    let mut order = json!({
        "exchange": "NSE", "tradingsymbol": "YESBANK", "transaction_type": "BUY", "quantity": 1,
        "product": "CNC", "order_type": "LIMIT", "price": 1.05,
    });
    for (name, value) in changes {
        order[*name] = value.clone();
    }
    order
}

fn gtt() -> Value {
    let leg = json!({
        "exchange": "NSE", "tradingsymbol": "YESBANK", "transaction_type": "SELL", "quantity": 1,
        "order_type": "LIMIT", "product": "CNC", "price": 1,
    });
    json!({
        "trigger_type": "single", "tradingsymbol": "YESBANK", "exchange": "NSE",
        "trigger_values": [1], "last_price": 20, "orders": [leg],
    })
}

/// Returns the name of a method, and its arguments: a list, or those with names.
fn in_python(call: Call<'_>) -> (&'static str, Value) {
    match call {
        Call::Ltp(instruments) => ("ltp", json!([instruments])),
        Call::Ohlc(instruments) => ("ohlc", json!([instruments])),
        Call::Quote(instruments) => ("quote", json!([instruments])),
        Call::Place(changes) => {
            let mut order = order(changes);
            order["variety"] = json!("regular");
            ("place_order", order)
        }
        Call::Modify(id, quantity) => {
            let change = json!({ "variety": "regular", "order_id": id, "quantity": quantity });
            ("modify_order", change)
        }
        Call::Cancel(id) => ("cancel_order", json!(["regular", id])),
        Call::Orders => ("orders", json!([])),
        Call::History(id) => ("order_history", json!([id])),
        Call::Margins => ("margins", json!([])),
        Call::Instruments => ("instruments", json!(["NSE"])),
        Call::PlaceGtt => ("place_gtt", gtt()),
        Call::Login => ("generate_session", json!(["request-token", "secret"])),
    }
}

fn in_javascript(call: Call<'_>) -> (&'static str, Value) {
    match call {
        Call::Ltp(instruments) => ("getLTP", json!([instruments])),
        Call::Ohlc(instruments) => ("getOHLC", json!([instruments])),
        Call::Quote(instruments) => ("getQuote", json!([instruments])),
        Call::Place(changes) => ("placeOrder", json!(["regular", order(changes)])),
        Call::Modify(id, quantity) => {
            ("modifyOrder", json!(["regular", id, { "quantity": quantity }]))
        }
        Call::Cancel(id) => ("cancelOrder", json!(["regular", id])),
        Call::Orders => ("getOrders", json!([])),
        Call::History(id) => ("getOrderHistory", json!([id])),
        Call::Margins => ("getMargins", json!([])),
        Call::Instruments => ("getInstruments", json!([["NSE"]])),
        Call::PlaceGtt => ("placeGTT", json!([gtt()])),
        Call::Login => ("generateSession", json!(["request-token", "secret"])),
    }
}
