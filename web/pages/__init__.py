"""The pages that Streamlit shows."""
