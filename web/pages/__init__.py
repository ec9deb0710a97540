"""The Streamlit pages: Review, Ask and Runs."""
